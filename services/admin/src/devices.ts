import { DeviceName, type Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import { createDeviceToken, digestOf, type Logger } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { dropGrants } from './access-routes.ts';
import type { Ask } from './ask.ts';
import { DeviceView, type PublicSide, viewOf } from './device-view.ts';
import { dropDomains } from './domain-routes.ts';
import { problems } from './problem.ts';

export interface DeviceRoutesOptions {
  ask: Ask;
  records: Records;
  side: PublicSide;
  log: Logger;
  /** Revoking waits for the acknowledgement of other instances, in milliseconds. */
  revokeMs: number;
}

/** The name is checked by hand, so that the answer says what is wrong with it rather than quoting a pattern. */
const NameBody = Type.Object({
  name: Type.String({ maxLength: 1024, description: 'A DNS label: a-z, 0-9 and inner hyphens, at most 63 characters' }),
});
const NameParams = Type.Object({ name: Type.String() });
const Issued = Type.Object({
  name: DeviceName,
  token: Type.String({ description: 'Shown this once: only its digest is stored' }),
});

/** `/v1/devices`: the registry of devices and the state of their leases. */
export const deviceRoutes: FastifyPluginAsyncTypebox<DeviceRoutesOptions> = async (
  app,
  { ask, records, side, log, revokeMs },
) => {
  const checkName = (name: string): string => {
    const fault = faultOfDeviceName(name);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    return name;
  };

  app.post(
    '/v1/devices',
    {
      config: { role: 'operator', audit: 'device.add' },
      schema: {
        summary: 'Register a device and issue its token',
        body: NameBody,
        response: { 201: Type.Object({ ...Issued.properties, created_at: Type.Integer() }), ...problems(400, 409) },
      },
    },
    async (request, reply) => {
      request.audited.object = request.body.name;
      const name = checkName(request.body.name);
      const token = createDeviceToken();
      const { created_at } = await ask('device.add', { device: name, token_digest: digestOf(token) });
      log.info({ event: 'device.added', device: name });
      return reply.code(201).send({ name, token, created_at });
    },
  );

  app.get(
    '/v1/devices/:name',
    {
      config: { role: 'viewer' },
      schema: { summary: 'Show a device', params: NameParams, response: { 200: DeviceView, ...problems(400, 404) } },
    },
    async (request) => {
      const { device, lease } = await ask('device.show', { device: checkName(request.params.name) });
      return viewOf(device, lease, side);
    },
  );

  app.post(
    '/v1/devices/:name/token',
    {
      config: { role: 'operator', audit: 'device.rotate' },
      schema: {
        summary: 'Issue a new token; it and the old one are valid until the new one is used first',
        params: NameParams,
        querystring: Type.Object({
          at_once: Type.Optional(
            Type.Boolean({ default: false, description: 'The old one is dead for new connections from now on' }),
          ),
        }),
        response: { 201: Issued, ...problems(400, 404) },
      },
    },
    async (request, reply) => {
      const name = checkName(request.params.name);
      const token = createDeviceToken();
      const { at_once = false } = request.query;
      request.audited.detail.at_once = at_once;
      await ask('device.rotate', { device: name, token_digest: digestOf(token), at_once });
      log.info({ event: 'device.rotated', device: name });
      return reply.code(201).send({ name, token });
    },
  );

  app.delete(
    '/v1/devices/:name',
    {
      config: { role: 'operator', audit: 'device.revoke' },
      schema: {
        summary: 'Revoke a device: its token is dead and its connections are cut',
        params: NameParams,
        response: {
          200: Type.Object({
            name: DeviceName,
            revoked: Type.Literal(true),
            missing: Type.Array(Type.String(), { description: 'Instances that have not acknowledged the cut yet' }),
          }),
          ...problems(400, 404),
        },
      },
    },
    async (request) => {
      const name = checkName(request.params.name);
      const { missing } = await ask('device.revoke', { device: name }, revokeMs);
      // Or they would open, and lead to, the next device of that name. The device is revoked whether or not this can be kept.
      await dropGrants(records, name).catch((err: unknown) => log.warn({ event: 'grants.kept', device: name, err }));
      await dropDomains(records, name).catch((err: unknown) => log.warn({ event: 'domains.kept', device: name, err }));
      log.info({ event: 'device.revoked', device: name, missing });
      return { name, revoked: true as const, missing };
    },
  );
};
