import { type Bus, errorOfRefusal, type Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';

const Port = Type.Integer({ minimum: 1, maximum: 65_535, description: "The device's own number of the endpoint" });
const Endpoint = Type.Object({ name: Type.String({ maxLength: 256 }), port: Port });

/** Host names that are an endpoint's for ever: chosen by the operator, kept when its lease expires. */
export const hostRoutes: FastifyPluginAsyncTypebox<{ bus: Pick<Bus, 'request'>; records: Records }> = async (
  app,
  { bus, records },
) => {
  const set = async (device: string, port: number, label: string | null, by: string) => {
    const fault = faultOfDeviceName(device);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    const reply = await bus.request('device.host', { device, port, label, by });
    if (!reply.ok) throw errorOfRefusal(reply);
    return { host: reply.host, renamed: reply.renamed };
  };

  app.get(
    '/v1/devices/:name/hosts',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Labels under the domain that are reserved for a device',
        params: Type.Object({ name: Type.String({ maxLength: 256 }) }),
        response: {
          200: Type.Object({ hosts: Type.Array(Type.Object({ port: Type.Integer(), label: Type.String() })) }),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const fault = faultOfDeviceName(request.params.name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      return { hosts: (await records.get('hosts', request.params.name))?.value.hosts ?? [] };
    },
  );

  app.put(
    '/v1/devices/:name/endpoints/:port/host',
    {
      config: { role: 'operator', audit: 'device.host' },
      schema: {
        summary: 'Reserve a host name for an http or https endpoint',
        description:
          "It is the endpoint's from now on, also while the device is away or its lease has expired. A connected device is renamed at once: the former name leads nowhere. `renamed` is false when it has no such endpoint now.",
        params: Endpoint,
        body: Type.Object(
          { host: Type.String({ maxLength: 63, description: 'One label under the domain, such as shop' }) },
          { additionalProperties: false },
        ),
        response: { 200: Type.Object({ host: Type.String(), renamed: Type.Boolean() }), ...problems(400, 404, 409) },
      },
    },
    async (request) => {
      const { name, port } = request.params;
      request.audited.detail.port = port;
      request.audited.detail.host = request.body.host;
      const { host, renamed } = await set(name, port, request.body.host, request.operator?.name ?? '');
      return { host: host ?? '', renamed };
    },
  );

  app.delete(
    '/v1/devices/:name/endpoints/:port/host',
    {
      config: { role: 'operator', audit: 'device.host' },
      schema: {
        summary: 'Give a reserved host name back; the present lease keeps it until it expires',
        params: Endpoint,
        response: { 204: Type.Null(), ...problems(400, 404, 409) },
      },
    },
    async (request, reply) => {
      const { name, port } = request.params;
      request.audited.detail.port = port;
      await set(name, port, null, request.operator?.name ?? '');
      return reply.status(204).send(null);
    },
  );
};
