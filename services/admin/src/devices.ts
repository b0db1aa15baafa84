import {
  type Bus,
  type CommandReply,
  type CommandRequest,
  DeviceName,
  errorOfRefusal,
  type Records,
  type SharedCommand,
} from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import { createDeviceToken, digestOf, type Logger } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { dropGrants } from './access-routes.ts';
import { DeviceView, type PublicSide, viewOf } from './device-view.ts';
import { dropDomains } from './domain-routes.ts';
import { problems } from './problem.ts';

export interface DeviceRoutesOptions {
  bus: Pick<Bus, 'request'>;
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
const Page = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 128, description: '`cursor` of the page before' })),
});

type Granted<N extends SharedCommand> = Extract<CommandReply<N>, { ok: true }>;

/** `/v1/devices`: the registry of devices and the state of their leases. */
export const deviceRoutes: FastifyPluginAsyncTypebox<DeviceRoutesOptions> = async (
  app,
  { bus, records, side, log, revokeMs },
) => {
  /** A command whose refusal becomes the answer's problem document. */
  const ask = async <N extends SharedCommand>(
    command: N,
    payload: CommandRequest<N>,
    timeoutMs?: number,
  ): Promise<Granted<N>> => {
    let reply: CommandReply<N>;
    try {
      reply = await bus.request(command, payload, timeoutMs === undefined ? {} : { timeoutMs });
    } catch (cause) {
      // Thrown by the bus itself it means that no lease-manager answers, not that the device does not exist.
      if (cause instanceof CulvertError && cause.code !== 'internal') {
        throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
      }
      throw cause;
    }
    if (!reply.ok) throw errorOfRefusal(reply as Extract<CommandReply<N>, { ok: false }>);
    return reply as Granted<N>;
  };
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
    '/v1/devices',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'List devices, ordered by name',
        querystring: Type.Object({
          ...Page.properties,
          label: Type.Optional(
            Type.Array(Type.String({ maxLength: 200 }), {
              maxItems: 8,
              description: 'Only devices with this label, as name=value; several: with all',
            }),
          ),
        }),
        response: {
          200: Type.Object({
            devices: Type.Array(DeviceView),
            cursor: Type.Union([Type.String(), Type.Null()], { description: 'Asks for the next page; null on the last one' }),
          }),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { limit = 100, cursor, label = [] } = request.query;
      const labels = labelsOf(label);
      const page = await ask('device.list', { limit, ...(cursor === undefined ? {} : { cursor }), ...labels });
      return { devices: page.devices.map(({ lease, ...record }) => viewOf(record, lease, side)), cursor: page.cursor };
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

/** `site=berlin` → {labels: {site: 'berlin'}}; nothing when no label is asked for. */
function labelsOf(texts: readonly string[]): { labels?: Record<string, string> } {
  const pairs = texts.map((text): [string, string] => {
    const match = /^([a-z0-9][a-z0-9._-]{0,62})=(.{0,128})$/.exec(text);
    if (match === null) throw new CulvertError('bad_request', `label is ${JSON.stringify(text)}; expected name=value`);
    return [match[1] ?? '', match[2] ?? ''];
  });
  return pairs.length === 0 ? {} : { labels: Object.fromEntries(pairs) };
}
