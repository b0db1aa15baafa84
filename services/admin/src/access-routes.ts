import { type Bus, errorOfRefusal, type KeptRecord, type Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName, type Limits } from '@culvert/contracts';
import { createGrantToken, digestOf } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { type DeviceView, type PublicSide, viewOf as viewOfDevice } from './device-view.ts';
import { problems } from './problem.ts';

export interface AccessRoutesOptions {
  records: Records;
  limits: Pick<Limits, 'GRANT_MS' | 'GRANT_ENTER_MS' | 'GRANTS_PER_DEVICE' | 'LOGIN_MS'>;
  /** What holds where nothing is said of a device. */
  fallback: 'public' | 'private';
  bus: Pick<Bus, 'request'>;
  side: PublicSide;
}

const ENTRANCE = '/.culvert/grant';
const HOUR_MS = 3_600_000;

const AccessName = Type.Enum(['public', 'private', 'default'], { description: 'default: as the setting CULVERT_ACCESS says' });
const Access = Type.Object({
  name: Type.String(),
  port: Type.Optional(Type.Integer()),
  access: AccessName,
  effective: Type.Enum(['public', 'private']),
});
const AccessQuery = Type.Object({
  port: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65_535,
      description: 'Of this endpoint only; what is said of it goes before what is said of the device',
    }),
  ),
});
const GrantView = Type.Object(
  {
    id: Type.String({ description: 'Names the grant; it opens nothing' }),
    label: Type.String(),
    created_at: Type.Integer(),
    created_by: Type.String(),
    expires_at: Type.Integer({ description: 'Milliseconds since 1970' }),
    host: Type.Union([Type.String(), Type.Null()], { description: 'The only host name that it opens; null: all of the device' }),
  },
  { $id: 'Grant' },
);
const Path = Type.String({ pattern: '^/(?![/\\\\])', maxLength: 1024, description: 'Where the link leads to on the device' });
const PortQuery = Type.Integer({ minimum: 1, maximum: 65_535, description: 'Which endpoint; default the first one with a page' });
const Params = Type.Object({ name: Type.String({ maxLength: 256 }) });

const idOfAccess = (name: string, port?: number): string => (port === undefined ? name : `${name}.${port}`);

const viewOf = ({ id, value, expires_at }: KeptRecord<'grant'>) => ({
  id: id.slice(id.indexOf('.') + 1),
  label: value.label,
  created_at: value.created_at,
  created_by: value.created_by,
  expires_at: expires_at ?? 0,
  host: value.host ?? null,
});

/** Ends every grant of a device. */
export async function dropGrants(records: Records, device: string): Promise<void> {
  for await (const { id } of records.all('grant', `${device}.`)) await records.delete('grant', id);
}

/** Whether a device's pages are private, and the links that open them. */
export const accessRoutes: FastifyPluginAsyncTypebox<AccessRoutesOptions> = async (app, options) => {
  const { records, limits, fallback, bus, side } = options;
  const show = async (device: string): Promise<DeviceView> => {
    const reply = await bus.request('device.show', { device }).catch((cause: unknown) => {
      throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
    });
    if (!reply.ok) throw errorOfRefusal(reply);
    return viewOfDevice(reply.device, reply.lease, side);
  };
  const checkName = (name: string): string => {
    const fault = faultOfDeviceName(name);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    return name;
  };
  const said = async (id: string): Promise<'public' | 'private' | 'default'> => {
    const record = await records.get('access', id);
    return record === null ? 'default' : record.value.private ? 'private' : 'public';
  };
  const accessOf = async (name: string, port?: number) => {
    const ofDevice = await said(name);
    const access = port === undefined ? ofDevice : await said(idOfAccess(name, port));
    const effective = access !== 'default' ? access : ofDevice !== 'default' ? ofDevice : fallback;
    return { name, ...(port === undefined ? {} : { port }), access, effective };
  };

  /** Makes a grant and its link; with `login` for that operator's browser, good once. */
  const grant = async (
    device: string,
    by: string,
    { forMs, port, to, label, login }: { forMs: number; port?: number; to?: string; label: string; login?: string },
  ): Promise<{ id: string; url: string; expires_at: number }> => {
    const { endpoints } = await show(device);
    const pages = endpoints.filter(({ url }) => url !== undefined);
    const page = port === undefined ? pages[0] : pages.find((one) => one.port === port);
    if (page?.url === undefined) {
      const which = port === undefined ? 'no page' : `no page at port ${port}`;
      throw new CulvertError('conflict', `${device} has ${which} at present; it must be connected, or in its grace period`);
    }
    let count = 0;
    for await (const _ of records.all('grant', `${device}.`)) count += 1;
    if (count >= limits.GRANTS_PER_DEVICE) {
      throw new CulvertError('conflict', `${device} has ${count} grants, and no more are allowed; withdraw some`);
    }
    const token = createGrantToken();
    const digest = digestOf(token);
    const now = Date.now();
    const value = {
      ...{ created_at: now, created_by: by, label },
      ...(port === undefined ? {} : { host: page.host }),
      ...(login === undefined ? {} : { enter_by: now + limits.GRANT_ENTER_MS, login }),
    };
    const kept = await records.put('grant', `${device}.${digest}`, value, { expected: 0, ttlMs: forMs });
    const query = new URLSearchParams({ t: token, ...(to === undefined || to === '/' ? {} : { to }) });
    return { id: digest, url: `${page.url}${ENTRANCE}?${query}`, expires_at: kept.expires_at ?? now + forMs };
  };

  app.get(
    '/v1/devices/:name/access',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Are the pages of a device private?',
        params: Params,
        querystring: AccessQuery,
        response: { 200: Access, ...problems(400, 404) },
      },
    },
    async (request) => {
      const name = checkName(request.params.name);
      await show(name);
      return accessOf(name, request.query.port);
    },
  );

  app.put(
    '/v1/devices/:name/access',
    {
      config: { role: 'operator', audit: 'device.privacy' },
      schema: {
        summary: 'Make the pages of a device public or private, at once; what runs of pages that are private then is cut',
        params: Params,
        querystring: AccessQuery,
        body: Type.Object({ access: AccessName }),
        response: { 200: Access, ...problems(400, 404) },
      },
    },
    async (request) => {
      const name = checkName(request.params.name);
      const { access } = request.body;
      const { port } = request.query;
      Object.assign(request.audited.detail, { access, ...(port === undefined ? {} : { port }) });
      await show(name);
      if (access === 'default') await records.delete('access', idOfAccess(name, port));
      else await records.put('access', idOfAccess(name, port), { private: access === 'private' });
      return accessOf(name, port);
    },
  );

  app.get(
    '/v1/devices/:name/grants',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The links that open a private device',
        params: Params,
        response: { 200: Type.Object({ grants: Type.Array(GrantView) }), ...problems(400) },
      },
    },
    async (request) => {
      const grants: ReturnType<typeof viewOf>[] = [];
      for await (const record of records.all('grant', `${checkName(request.params.name)}.`)) grants.push(viewOf(record));
      return { grants };
    },
  );

  app.post(
    '/v1/devices/:name/grants',
    {
      config: { role: 'operator', audit: 'grant.add' },
      schema: {
        summary: 'Make a link that opens a private device until it ends; it is shown this once',
        params: Params,
        body: Type.Object({
          for_ms: Type.Optional(Type.Integer({ minimum: 1000, maximum: limits.GRANT_MS, default: HOUR_MS })),
          port: Type.Optional(PortQuery),
          to: Type.Optional(Path),
          label: Type.Optional(Type.String({ maxLength: 128, default: '' })),
        }),
        response: {
          201: Type.Object({ id: Type.String(), url: Type.String(), expires_at: Type.Integer() }),
          ...problems(400, 404, 409),
        },
      },
    },
    async (request, reply) => {
      const name = checkName(request.params.name);
      const { for_ms: forMs = Math.min(HOUR_MS, limits.GRANT_MS), label = '', port, to } = request.body;
      request.audited.detail.for_ms = forMs;
      const wish = { forMs, label, ...(port === undefined ? {} : { port }), ...(to === undefined ? {} : { to }) };
      const made = await grant(name, request.operator?.name ?? '', wish);
      request.audited.detail.grant = made.id;
      return reply.code(201).send(made);
    },
  );

  app.delete(
    '/v1/devices/:name/grants/:id',
    {
      config: { role: 'operator', audit: 'grant.withdraw' },
      schema: {
        summary:
          'Withdraw a link: it, and what it opened, is over; running visits to private pages of the device are cut, and may come again',
        params: Type.Object({ ...Params.properties, id: Type.String({ pattern: '^[0-9a-f]{64}$' }) }),
        response: { 200: Type.Object({ id: Type.String(), withdrawn: Type.Literal(true) }), ...problems(400, 404) },
      },
    },
    async (request) => {
      const { name, id } = request.params;
      request.audited.detail.grant = id;
      if (!(await records.delete('grant', `${checkName(name)}.${id}`))) {
        throw new CulvertError('not_found', `${name} has no such grant; it may have ended`);
      }
      return { id, withdrawn: true as const };
    },
  );

  app.get(
    '/v1/open',
    {
      config: { role: 'operator', audit: 'grant.open' },
      schema: {
        summary: 'Open the page of a device in this browser, private or not, for as long as the login lasts: for the dashboard',
        querystring: Type.Object({
          device: Type.String({ maxLength: 256 }),
          port: Type.Optional(PortQuery),
          to: Type.Optional(Path),
        }),
        response: { 303: Type.Null(), ...problems(400, 404, 409) },
      },
    },
    async (request, reply) => {
      const { device, port, to } = request.query;
      const name = checkName(device);
      request.audited.object = name;
      const { name: operator = '', login = '' } = request.operator ?? {};
      const loginEnds = login === '' ? null : (await records.get('login', login))?.expires_at;
      const wish = {
        label: 'dashboard',
        login,
        forMs: Math.max(1, Math.min(limits.LOGIN_MS, limits.GRANT_MS, (loginEnds ?? Number.POSITIVE_INFINITY) - Date.now())),
        ...(port === undefined ? {} : { port }),
        ...(to === undefined ? {} : { to }),
      };
      const { url } = await grant(name, operator, wish);
      return reply.header('referrer-policy', 'no-referrer').code(303).header('location', url).send(null);
    },
  );
};
