import { Bus, type CommandReply, type LeaseSchema } from '@culvert/bus';
import { AUDIT_STREAM, AUDIT_SUBJECTS, CulvertError, DEFAULT_LIMITS, EVENTS_STREAM, EVENTS_SUBJECTS } from '@culvert/contracts';
import { createLogger, digestOf } from '@culvert/service-kit';
import { type ServerProcess, startNats } from '@culvert/test/harness/servers.ts';
import { jetstreamManager } from '@nats-io/jetstream';
import type { FastifyInstance } from 'fastify';
import type Type from 'typebox';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { buildServer } from '../src/server.ts';

const TOKEN = 'a-token-for-the-operator';
const log = createLogger('admin', 'admin-1', 'silent');

const lease: Type.Static<typeof LeaseSchema> = {
  device: 'alice',
  state: 'held',
  epoch: 41,
  rev: 2,
  since: 1_700_000_000_000,
  due: null,
  ingress: 'ws-ingress-1',
  control: 'c1',
  listener: 'tcp-listener-1',
  endpoints: [
    { port: 80, scheme: 'http', host: 'q7x.culvert.localhost', public_port: 20_001 },
    { port: 443, scheme: 'https', host: 'z9.culvert.localhost', public_port: 20_002 },
    { port: 22, scheme: 'tcp', public_port: 20_003 },
  ],
  boot: 'b',
  remote: '192.0.2.7',
  warm: 0,
  transfers: 256,
  max_frame: 65_536,
};

let nats: ServerProcess;
let managerBus: Bus;
let adminBus: Bus;
let app: FastifyInstance;
let url: string;
/** The lease-manager's side: names with their digest, and whether they are revoked. */
const registry = new Map<string, { digest: string; revoked: boolean }>();
let leases: Record<string, Type.Static<typeof LeaseSchema>> = {};

const recordOf = (device: string) => ({ device, created_at: 1_690_000_000_000, revoked: registry.get(device)?.revoked ?? false });
const missing = (device: string): never => {
  throw new CulvertError('not_found', `there is no device ${device}`);
};

beforeAll(async () => {
  nats = await startNats();
  const connect = (service: string) => Bus.connect({ url: nats.url, name: `${service}-1`, service, log, commandMs: 3_000 });
  [managerBus, adminBus] = await Promise.all([connect('lease-manager'), connect('admin')]);
  const jsm = await jetstreamManager(managerBus.nc);
  await jsm.streams.add({ name: AUDIT_STREAM, subjects: AUDIT_SUBJECTS });
  await jsm.streams.add({ name: EVENTS_STREAM, subjects: EVENTS_SUBJECTS });
  await managerBus.serve('1.0.0', {
    'device.add': ({ device, token_digest }) => {
      if (registry.has(device)) throw new CulvertError('already_exists', `${device} exists`);
      registry.set(device, { digest: token_digest, revoked: false });
      return { ok: true, created_at: 1_690_000_000_000 };
    },
    'device.list': ({ limit = 100, cursor }): CommandReply<'device.list'> => {
      const names = [...registry.keys()].sort().filter((name) => cursor === undefined || name > cursor);
      const page = names.slice(0, limit).map((device) => ({ ...recordOf(device), lease: leases[device] ?? null }));
      return { ok: true, devices: page, cursor: names.length > limit ? (page.at(-1)?.device ?? null) : null };
    },
    'device.show': ({ device }) =>
      registry.has(device) ? { ok: true, device: recordOf(device), lease: leases[device] ?? null } : missing(device),
    'device.rotate': ({ device, token_digest }) => {
      if (!registry.has(device)) missing(device);
      registry.set(device, { digest: token_digest, revoked: false });
      return { ok: true };
    },
    'device.revoke': ({ device }) => {
      const found = registry.get(device) ?? missing(device);
      found.revoked = true;
      return { ok: true, missing: ['tcp-listener-2'] };
    },
  });
  app = await buildServer({
    ...{ bus: adminBus, log, id: 'admin-1', token: TOKEN, limits: DEFAULT_LIMITS },
    side: { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' },
  });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
});

afterAll(async () => {
  await app?.close();
  await Promise.all([adminBus?.close(), managerBus?.close()]);
  await nats?.stop();
});

beforeEach(() => {
  registry.clear();
  leases = {};
});

const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
  const response = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${TOKEN}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return {
    status: response.status,
    type: response.headers.get('content-type'),
    body: (await response.json()) as never,
    response,
  };
};

describe('the admin API', () => {
  it('registers a device and hands out a token of which only the digest travels', async () => {
    const { status, body } = await call('POST', '/v1/devices', { name: 'alice' });
    expect(status).toBe(201);
    expect(body).toMatchObject({ name: 'alice', token: expect.stringMatching(/^cvd_/), created_at: 1_690_000_000_000 });
    expect(registry.get('alice')?.digest).toBe(digestOf((body as { token: string }).token));
  });

  it('says 409 when the name is taken', async () => {
    await call('POST', '/v1/devices', { name: 'alice' });
    const { status, type, body } = await call('POST', '/v1/devices', { name: 'alice' });
    expect(status).toBe(409);
    expect(type).toContain('application/problem+json');
    expect(body).toMatchObject({ status: 409, code: 'already_exists', detail: 'alice exists' });
  });

  it.each([
    ['upper case', 'Alice'],
    ['dots', 'a.b'],
    ['64 characters', 'a'.repeat(64)],
    ['unicode', 'zoë'],
    ['nothing', ''],
  ])('refuses a name with %s and says what would be right', async (_, name) => {
    const { status, body } = await call('POST', '/v1/devices', { name });
    expect(status).toBe(400);
    expect(body).toMatchObject({ code: 'bad_request', detail: expect.stringContaining('name') });
    expect(registry.size).toBe(0);
  });

  it('refuses a body that is no JSON, has no name, or is huge', async () => {
    const noJson = await fetch(`${url}/v1/devices`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: '{',
    });
    expect(noJson.status).toBe(400);
    expect((await call('POST', '/v1/devices', {})).body).toMatchObject({ code: 'bad_request' });
    expect((await call('POST', '/v1/devices', { name: 'a'.repeat(20_000) })).body).toMatchObject({
      status: 413,
      code: 'too_large',
    });
    expect((await call('POST', '/v1/devices', { name: 'a' }, { 'content-type': 'text/plain' })).status).toBe(400);
  });

  it('wants the token for everything below /v1 and for nothing else', async () => {
    for (const authorization of ['', 'Bearer wrong', `Basic ${TOKEN}`]) {
      const { status, body } = await call('GET', '/v1/devices', undefined, { authorization });
      expect(status).toBe(401);
      expect(body).toMatchObject({ code: 'unauthorized' });
    }
    expect((await fetch(`${url}/openapi.json`)).status).toBe(200);
    expect((await fetch(`${url}/docs/`)).status).toBe(200);
  });

  it('shows a connected device with its URLs and ports', async () => {
    await call('POST', '/v1/devices', { name: 'alice' });
    leases.alice = lease;
    const { body } = await call('GET', '/v1/devices/alice');
    expect(body).toMatchObject({
      name: 'alice',
      state: 'connected',
      state_detail: 'held',
      epoch: 41,
      endpoints: [
        {
          port: 80,
          scheme: 'http',
          url: 'http://q7x.culvert.localhost:8080',
          host: 'q7x.culvert.localhost',
          public_port: 20_001,
        },
        { port: 443, scheme: 'https', url: 'http://z9.culvert.localhost:8080', host: 'z9.culvert.localhost' },
        { port: 22, scheme: 'tcp', host: 'culvert.localhost', public_port: 20_003 },
      ],
      remote: '192.0.2.7',
      listener: 'tcp-listener-1',
      ingress: 'ws-ingress-1',
      revoked: false,
    });
  });

  it.each([
    ['reconnecting', 'grace'],
    ['grace', 'grace'],
  ] as const)('shows a lease that is %s as %s with its due time', async (state, shown) => {
    await call('POST', '/v1/devices', { name: 'alice' });
    leases.alice = { ...lease, state, due: 1_700_000_060_000 };
    expect((await call('GET', '/v1/devices/alice')).body).toMatchObject({
      state: shown,
      state_detail: state,
      due: 1_700_000_060_000,
    });
  });

  it('shows a device without a lease as offline', async () => {
    await call('POST', '/v1/devices', { name: 'alice' });
    expect((await call('GET', '/v1/devices/alice')).body).toMatchObject({
      state: 'offline',
      state_detail: null,
      epoch: null,
      endpoints: [],
    });
  });

  it('lists devices page by page', async () => {
    for (const name of ['a', 'b', 'c']) await call('POST', '/v1/devices', { name });
    const first = (await call('GET', '/v1/devices?limit=2')).body as { devices: { name: string }[]; cursor: string | null };
    expect(first.devices.map(({ name }) => name)).toEqual(['a', 'b']);
    const second = (await call('GET', `/v1/devices?limit=2&cursor=${first.cursor}`)).body;
    expect(second).toMatchObject({ devices: [{ name: 'c' }], cursor: null });
    expect((await call('GET', '/v1/devices?limit=0')).status).toBe(400);
  });

  it('revokes a device and names the instances that have not answered', async () => {
    await call('POST', '/v1/devices', { name: 'alice' });
    expect((await call('DELETE', '/v1/devices/alice')).body).toEqual({
      name: 'alice',
      revoked: true,
      missing: ['tcp-listener-2'],
    });
    expect((await call('GET', '/v1/devices/alice')).body).toMatchObject({ revoked: true });
  });

  it('issues a new token in place of the old one', async () => {
    const { token: old } = (await call('POST', '/v1/devices', { name: 'alice' })).body as { token: string };
    const { status, body } = await call('POST', '/v1/devices/alice/token');
    expect(status).toBe(201);
    expect(registry.get('alice')?.digest).toBe(digestOf((body as { token: string }).token));
    expect((body as { token: string }).token).not.toBe(old);
  });

  it('says 404 for unknown devices and unknown paths', async () => {
    for (const [method, path] of [
      ['GET', '/v1/devices/nobody'],
      ['DELETE', '/v1/devices/nobody'],
      ['POST', '/v1/devices/nobody/token'],
      ['GET', '/v1/nothing'],
    ] as const) {
      const { status, body } = await call(method, path);
      expect([status, (body as { code: string }).code]).toEqual([404, 'not_found']);
    }
  });

  it('describes itself in OpenAPI 3.1', async () => {
    const document = (await (await fetch(`${url}/openapi.json`)).json()) as { openapi: string; paths: Record<string, object> };
    expect(document.openapi).toBe('3.1.0');
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(['/v1/devices', '/v1/devices/{name}', '/v1/devices/{name}/token', '/v1/events']),
    );
    expect(Object.keys(document.paths['/v1/devices/{name}'] ?? {})).toEqual(expect.arrayContaining(['get', 'delete']));
  });

  it('feeds events live, of one device if asked so', async () => {
    const stop = new AbortController();
    const response = await fetch(`${url}/v1/events?device=alice`, {
      headers: { authorization: `Bearer ${TOKEN}` },
      signal: stop.signal,
    });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let heard = (await reader?.read())?.value ?? '';
    await adminBus.nc.flush();
    managerBus.nc.publish('device.connected.bob', '{"subject":"bob"}');
    managerBus.nc.publish('device.connected.alice', '{"subject":"alice"}');
    while (!heard.includes('data:')) heard += (await reader?.read())?.value ?? '';
    expect(heard).toContain('event: device.connected\ndata: {"subject":"alice"}\n\n');
    expect(heard).not.toContain('bob');
    stop.abort();
  });
});

describe('without a lease-manager', () => {
  it('says 503 with Retry-After instead of calling every device unknown', async () => {
    const silent = await startNats();
    const alone = await Bus.connect({ url: silent.url, name: 'admin-3', service: 'admin', log, commandMs: 300 });
    const other = await buildServer({
      ...{ bus: alone, log, id: 'admin-3', token: TOKEN, limits: DEFAULT_LIMITS },
      side: { scheme: 'http', port: 80, tcpHost: 'x' },
    });
    try {
      const answer = await other.inject({ url: '/v1/devices/alice', headers: { authorization: `Bearer ${TOKEN}` } });
      expect(answer.statusCode).toBe(503);
      expect(answer.headers['retry-after']).toBe('1');
      expect(answer.json()).toMatchObject({ code: 'unavailable' });
    } finally {
      await other.close();
      await alone.close();
      await silent.stop();
    }
  });
});
