import { randomBytes } from 'node:crypto';
import { type Bus, DeviceName, errorOfRefusal, PortNumber, type Records } from '@culvert/bus';
import { ACCESS_PATH, CulvertError, faultOfDeviceName, ROLES } from '@culvert/contracts';
import { digestOf, type Logger } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { Operator } from './access/rights.ts';
import { ACCESS_ROLE } from './operator-checks.ts';
import { problems } from './problem.ts';

export interface TicketRoutesOptions {
  bus: Pick<Bus, 'request' | 'requestOf'>;
  records: Records;
  log: Logger;
}

/**
 * `GET /v1/access`: does this token suffice to be let in? `POST /v1/access`: an operator asks for one connection to a port of a
 * device. Here it is decided and written down; the listener that serves the device keeps the ticket, and the bytes go there past
 * this service.
 */
export const ticketRoutes: FastifyPluginAsyncTypebox<TicketRoutesOptions> = async (app, { bus, records, log }) => {
  app.get(
    ACCESS_PATH,
    {
      config: { role: ACCESS_ROLE },
      schema: {
        summary: 'May I ask for connections to devices?',
        response: { 200: Type.Object({ name: Type.String(), role: Type.Enum(ROLES) }), ...problems() },
      },
    },
    async (request) => ({ name: request.operator?.name ?? '', role: request.operator?.role ?? ACCESS_ROLE }),
  );

  app.post(
    ACCESS_PATH,
    {
      config: { role: ACCESS_ROLE, audit: 'device.access' },
      schema: {
        summary: 'Ask for one connection to a port of a device, past its public ports',
        body: Type.Object({
          device: Type.String({ maxLength: 1024 }),
          port: Type.Integer({ minimum: 1, maximum: 65_535, description: "The device's own number" }),
        }),
        response: {
          201: Type.Object({
            device: DeviceName,
            port: PortNumber,
            path: Type.String({ description: 'Where to open the WebSocket, at the host that answered this' }),
            key: Type.String({ description: 'Its bearer token; good for one connection' }),
            expires_ms: Type.Integer({ description: 'The connection must be opened within this many milliseconds' }),
          }),
          ...problems(400, 404, 502),
        },
      },
    },
    async (request, reply) => {
      const { device, port } = request.body;
      const { operator } = request;
      if (operator === null) throw new CulvertError('unauthorized');
      request.audited.object = device;
      Object.assign(request.audited.detail, {
        port,
        forwarded_for: String(request.headers['x-forwarded-for'] ?? '').slice(0, 128),
      });
      const fault = faultOfDeviceName(device);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const found = await bus.request('device.show', { device });
      if (!found.ok) throw errorOfRefusal(found);
      const { lease } = found;
      if (lease === null || lease.state === 'grace') throw new CulvertError('device_offline', `${device} is not connected`);
      const { epoch, listener } = lease;
      const declared = lease.endpoints.some((endpoint) => endpoint.port === port);
      const undeclared = !declared && ((await records.get('policy', device))?.value.forward?.includes(port) ?? false);
      const key = randomBytes(32).toString('base64url');
      const wanted = { device, epoch, port, undeclared, operator: userOf(operator), key_digest: digestOf(key) };
      const admitted = await bus.requestOf(listener, 'listener.admit', wanted);
      if (!admitted.ok) throw errorOfRefusal(admitted);
      log.info({ event: 'access.granted', device, port, operator: operator.name, listener, epoch });
      const path = `${ACCESS_PATH}/${listener}/${admitted.ticket}`;
      return reply.code(201).send({ device, port, path, key, expires_ms: admitted.expires_ms });
    },
  );
};

/** What rights can be looked up by again, while the connection runs. */
function userOf({ name, tokenDigest, login }: Operator): { name: string; token_digest: string; login: string } {
  return { name, token_digest: tokenDigest, login };
}
