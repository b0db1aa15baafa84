import { type Bus, errorOfRefusal, InstanceId } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';

/** What operators do to running processes, and to the connections that these hold. */
export const instanceRoutes: FastifyPluginAsyncTypebox<{ bus: Pick<Bus, 'request' | 'requestOf'> }> = async (app, { bus }) => {
  app.post(
    '/v1/instances/:id/wind-down',
    {
      config: { role: 'admin', audit: 'instance.wind_down' },
      schema: {
        summary: 'Wind an instance down: it takes no new work, finishes the old, and ends, as with SIGTERM',
        description: 'Whoever keeps it running may start it again.',
        params: Type.Object({ id: InstanceId }),
        response: {
          202: Type.Object({ id: InstanceId, pid: Type.Integer(), winding_down: Type.Literal(true) }),
          ...problems(400, 404),
        },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const answer = await bus.requestOf(id, 'instance.wind_down', {}).catch((cause: unknown) => {
        if (cause instanceof CulvertError && cause.code === 'not_found') {
          throw new CulvertError('not_found', `there is no instance ${id}`, { cause });
        }
        throw new CulvertError('unavailable', `${id} does not answer; there may be no such instance`, { cause });
      });
      if (!answer.ok) throw errorOfRefusal(answer);
      return reply.code(202).send({ id, pid: answer.pid, winding_down: true as const });
    },
  );

  app.post(
    '/v1/devices/:name/disconnect',
    {
      config: { role: 'operator', audit: 'device.disconnect' },
      schema: {
        summary: 'End the control connection of a device; it may come back at once, with the same names and ports',
        params: Type.Object({ name: Type.String({ maxLength: 256 }) }),
        response: {
          200: Type.Object({ name: Type.String(), disconnected: Type.Boolean({ description: 'false: it was not connected' }) }),
          ...problems(400, 404),
        },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const away = (what: string) => (cause: unknown) => {
        throw new CulvertError('unavailable', `${what} does not answer`, { cause });
      };
      const shown = await bus.request('device.show', { device: name }).catch(away('no lease-manager'));
      if (!shown.ok) throw errorOfRefusal(shown);
      const { lease } = shown;
      if (lease?.state !== 'held') return { name, disconnected: false };
      const message = 'an operator ended the connection';
      const close = { device: name, epoch: lease.epoch, code: 'unavailable', message };
      const closed = await bus.requestOf(lease.ingress, 'ingress.close', close).catch(away(lease.ingress));
      if (!closed.ok) throw errorOfRefusal(closed);
      return { name, disconnected: closed.closed };
    },
  );
};
