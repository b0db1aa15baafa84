import { type Bus, errorOfRefusal, type KeptRecord, type Records, type RecordValue } from '@culvert/bus';
import { CulvertError, faultOfDeviceName, type Limits } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { checkCertificate } from './certificate.ts';
import { CERTIFICATE_STATES, stateOfCertificate } from './certificate-watch.ts';
import { checkHost } from './own-hosts.ts';
import { problems } from './problem.ts';

export interface DomainRoutesOptions {
  records: Records;
  bus: Pick<Bus, 'request'>;
  limits: Pick<Limits, 'DOMAINS_PER_DEVICE' | 'CERTIFICATE_SOON_MS'>;
  /** Names under it are given out by the system. */
  domain: string;
}

type Domain = RecordValue<'domain'>;

const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const DomainView = Type.Object(
  {
    host: Type.String(),
    device: Type.String(),
    port: Type.Integer({ description: "The device's own number of the endpoint" }),
    not_after: Type.Integer({ description: 'When its certificate runs out, milliseconds since 1970' }),
    state: Type.Enum(CERTIFICATE_STATES, { description: 'Of its certificate' }),
    fingerprint: Type.String({ description: 'SHA-256 of its certificate, hex' }),
    created_at: Type.Integer(),
    created_by: Type.String(),
  },
  { $id: 'Domain' },
);
const Params = Type.Object({ host: Type.String({ maxLength: 256 }) });

function viewWith(soonMs: number, { id, value }: KeptRecord<'domain'>): Type.Static<typeof DomainView> {
  const { device, port, certificate, created_at, created_by } = value;
  return {
    ...{ host: id, device, port, created_at, created_by },
    not_after: certificate.not_after,
    state: stateOfCertificate(certificate.not_after, soonMs),
    fingerprint: certificate.fingerprint,
  };
}

/** Takes every host name of its own from a device. */
export async function dropDomains(records: Records, device: string): Promise<void> {
  for await (const { id, value } of records.all('domain')) if (value.device === device) await records.delete('domain', id);
}

/** `/v1/domains`: host names of devices' own, with their certificates. No answer contains a private key. */
export const domainRoutes: FastifyPluginAsyncTypebox<DomainRoutesOptions> = async (app, { records, bus, limits, domain }) => {
  const viewOf = (record: KeptRecord<'domain'>) => viewWith(limits.CERTIFICATE_SOON_MS, record);
  const checkDevice = async (device: string): Promise<void> => {
    const fault = faultOfDeviceName(device);
    if (fault !== undefined) throw new CulvertError('bad_request', fault);
    const reply = await bus.request('device.show', { device }).catch((cause: unknown) => {
      throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
    });
    if (!reply.ok) throw errorOfRefusal(reply);
    if (reply.device.revoked) throw new CulvertError('conflict', `${device} is revoked; expected a device that may connect`);
  };
  const checkRoom = async (device: string): Promise<void> => {
    let count = 0;
    for await (const { value } of records.all('domain')) if (value.device === device) count += 1;
    if (count < limits.DOMAINS_PER_DEVICE) return;
    throw new CulvertError('conflict', `${device} has ${count} domains, and no more are allowed; remove some`);
  };
  const found = async (text: string): Promise<KeptRecord<'domain'>> => {
    const host = text.toLowerCase().replace(/\.$/, '');
    const record = /^[a-z0-9.-]{1,253}$/.test(host) && !/^\.|\.\.|\.$/.test(host) ? await records.get('domain', host) : null;
    if (record === null) throw new CulvertError('not_found', `there is no domain ${host.slice(0, 256)}`);
    return record;
  };

  app.get(
    '/v1/domains',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Host names of devices of their own',
        querystring: Type.Object({
          device: Type.Optional(
            Type.String({ maxLength: 256, description: 'Only those of this device; a page may then be short' }),
          ),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
          cursor: Type.Optional(Type.String({ maxLength: 253, pattern: '^[a-z0-9.-]+$' })),
        }),
        response: { 200: Type.Object({ domains: Type.Array(DomainView), cursor: orNull(Type.String()) }), ...problems(400) },
      },
    },
    async ({ query: { device, limit = 100, cursor } }) => {
      const page = await records.list('domain', { limit, cursor });
      const wanted = page.records.filter(({ value }) => device === undefined || value.device === device);
      return { domains: wanted.map(viewOf), cursor: page.cursor };
    },
  );

  app.get(
    '/v1/domains/:host',
    {
      config: { role: 'viewer' },
      schema: { summary: 'Show a domain', params: Params, response: { 200: DomainView, ...problems(404) } },
    },
    async ({ params }) => viewOf(await found(params.host)),
  );

  app.put(
    '/v1/domains/:host',
    {
      config: { role: 'operator', audit: 'domain.put' },
      schema: {
        summary: 'Let a host name lead to a device, or renew its certificate; edges take both at once',
        params: Params,
        body: Type.Object(
          {
            device: Type.String({ maxLength: 256 }),
            port: Type.Integer({
              minimum: 1,
              maximum: 65_535,
              description: "The device's own number of an http or https endpoint",
            }),
            certificate: Type.String({ description: 'PEM, leaf first' }),
            key: Type.String({ description: 'PEM, not encrypted; kept for the edges and never shown again' }),
          },
          { additionalProperties: false },
        ),
        response: { 200: DomainView, ...problems(400, 404, 409) },
      },
    },
    async (request) => {
      const { device, port, certificate, key } = request.body;
      request.audited.object = request.params.host;
      Object.assign(request.audited.detail, { device, port });
      const host = checkHost(request.params.host, domain);
      request.audited.object = host;
      await checkDevice(device);
      const checked = checkCertificate(host, certificate, key);
      const present = await records.get('domain', host);
      if (present !== null && present.value.device !== device) {
        throw new CulvertError('already_exists', `${host} belongs to ${present.value.device}; remove it there first`);
      }
      if (present === null) await checkRoom(device);
      request.audited.detail.fingerprint = checked.fingerprint;
      const made = present?.value ?? { created_at: Date.now(), created_by: request.operator?.name ?? '' };
      const value: Domain = {
        ...{ device, port, created_at: made.created_at, created_by: made.created_by },
        certificate: checked,
      };
      return viewOf(await records.put('domain', host, value, { expected: present?.revision ?? 0 }));
    },
  );

  app.delete(
    '/v1/domains/:host',
    {
      config: { role: 'operator', audit: 'domain.remove' },
      schema: {
        summary: 'Remove a domain, its certificate and its key',
        params: Params,
        response: { 200: Type.Object({ host: Type.String(), removed: Type.Literal(true) }), ...problems(404) },
      },
    },
    async (request) => {
      request.audited.object = request.params.host;
      const { id, value, revision } = await found(request.params.host);
      request.audited.detail.device = value.device;
      await records.delete('domain', id, revision);
      return { host: id, removed: true as const };
    },
  );
};
