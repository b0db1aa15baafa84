import { Records } from '@culvert/bus';
import { DEAD_STREAM, DEFAULT_LIMITS } from '@culvert/contracts';
import { createLogger } from '@culvert/service-kit';
import { type ConsumeOptions, jetstream } from '@nats-io/jetstream';
import type { FastifyInstance } from 'fastify';
import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Stack, until } from '../../lease-manager/test/stack.ts';
import { buildServer } from '../src/server.ts';
import { publicLookup } from '../src/webhooks/address-guard.ts';
import { deliverAll } from '../src/webhooks/courier.ts';
import { DeadLetters, deadSubject } from '../src/webhooks/dead-letters.ts';
import { WebhookOwners } from '../src/webhooks/owners.ts';
import { createWebhookMetrics } from '../src/webhooks/owners-deps.ts';
import { isSigned, Receiver } from './receiver.ts';

const TOKEN = 'the-token-of-the-operator-root';
const log = createLogger('admin', 'admin-1', 'silent');
const limits = { ...DEFAULT_LIMITS, WEBHOOK_RETRY_MS: 50, WEBHOOK_EVENT_MS: 1_500, WEBHOOK_ANSWER_MS: 1_000 };

let stack: Stack;
let app: FastifyInstance;
let strict: FastifyInstance;
const owners: WebhookOwners[] = [];
const receivers: Receiver[] = [];

function own(owner: string): WebhookOwners {
  const one = new WebhookOwners({
    ...{ owner, nc: stack.bus.nc, records: new Records(stack.bus), dead: new DeadLetters(stack.bus.nc, limits), limits, log },
    ...{ privateAllowed: true, metrics: createWebhookMetrics(new Registry(), () => 0) },
  });
  owners.push(one);
  one.start();
  return one;
}

beforeAll(async () => {
  stack = await Stack.start({ GRACE_MS: 60_000, SWEEP_MS: 50, RECONNECTING_MS: 200 });
  await stack.listener('tcp-listener-1', [30_000, 30_999]);
  await stack.ingress('ws-ingress-1');
  await stack.service('port-allocator');
  await stack.service('lease-manager');
  const side = { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' } as const;
  const options = { bus: stack.bus, log, id: 'admin-1', token: TOKEN, limits, side };
  app = await buildServer({ ...options, webhooksPrivate: true });
  strict = await buildServer(options);
  await stack.addDevice('first');
  await stack.granted('first');
  await stack.eventsOf('first', 2);
  own('one');
}, 60_000);

afterAll(async () => {
  for (const one of owners) await one.stop();
  for (const receiver of receivers) await receiver.close();
  await app?.close();
  await strict?.close();
  await stack?.stop();
});

async function call(method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object, to = app) {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const answer = await to.inject({ method, url, headers, ...(payload === undefined ? {} : { payload }) });
  return { status: answer.statusCode, body: answer.json() };
}

async function receiver(): Promise<Receiver> {
  const made = await Receiver.start();
  receivers.push(made);
  return made;
}

async function add(to: Receiver, more: object = {}): Promise<{ id: string; secret: string }> {
  const { status, body } = await call('POST', '/v1/webhooks', { url: to.url, ...more });
  expect(status).toBe(201);
  return body;
}

async function comeAndGo(device: string): Promise<void> {
  await stack.addDevice(device);
  const { epoch } = await stack.granted(device);
  await stack.bus.request('lease.release', { device, epoch, control: 'c1', reason: 'bye' });
}
const LIFE = ['lease.granted', 'device.connected', 'device.disconnected', 'lease.grace'];

describe('a webhook', () => {
  it('gets the events from then on that it asked for, signed, in the order of each device', async () => {
    const to = await receiver();
    const { id, secret } = await add(to, { types: ['device.*', 'lease.grace'], devices: ['alice', 'bob'] });
    await Promise.all(['alice', 'bob', 'carol'].map(comeAndGo));
    await until(() => to.all.length === 6);
    for (const device of ['alice', 'bob']) expect(to.typesOf(device)).toEqual(LIFE.filter((type) => type !== 'lease.granted'));
    expect(to.all.every((received) => isSigned(received, secret))).toBe(true);
    expect(to.all.every((received) => !isSigned({ ...received, body: `${received.body} ` }, secret))).toBe(true);
    expect(to.all.map(({ headers, event }) => headers['webhook-id'] === event.id)).not.toContain(false);
    const { body } = await call('GET', '/v1/webhooks');
    expect(body.webhooks.map((one: { id: string }) => one.id)).toContain(id);
    expect(JSON.stringify(body)).not.toContain('whsec_');
    expect((await call('POST', `/v1/webhooks/${id}/ping`)).body).toMatchObject({ delivered: true, status: 204 });
    expect(to.all.at(-1)?.event.type).toBe('webhook.ping');
    expect((await call('DELETE', `/v1/webhooks/${id}`)).status).toBe(200);
    expect((await call('GET', `/v1/webhooks/${id}`)).status).toBe(404);
  }, 30_000);

  it('gets an event again until it takes it, and meanwhile those of other devices only', async () => {
    const to = await receiver();
    let refusals = 0;
    to.answer = ({ event }) => {
      if (event.subject !== 'dave' || refusals >= 2) return { status: 200 };
      refusals += 1;
      return refusals === 1 ? { status: 302, headers: { location: to.url } } : { status: 503, headers: { 'retry-after': '0' } };
    };
    await add(to, { types: ['device.connected', 'device.disconnected'] });
    await comeAndGo('dave');
    await comeAndGo('erin');
    await until(() => to.typesOf('dave').length === 4 && to.typesOf('erin').length === 2);
    expect(to.typesOf('dave')).toEqual([...Array.from({ length: 3 }, () => 'device.connected'), 'device.disconnected']);
    expect(new Set(to.all.filter(({ event }) => event.subject === 'dave').map(({ headers }) => headers['webhook-id'])).size).toBe(
      2,
    );
  }, 30_000);

  it('that takes nothing has dead letters, which a replay delivers', async () => {
    const to = await receiver();
    to.answer = () => 'silent';
    const { id } = await add(to, { types: ['lease.granted'], devices: ['frank'] });
    await comeAndGo('frank');
    const dead = async () => (await call('GET', `/v1/webhooks/${id}/dead`)).body.dead;
    await until(async () => (await dead()).length === 1, 20_000);
    expect((await dead())[0]).toMatchObject({
      reason: 'no answer within 1000 ms',
      event: { type: 'lease.granted', subject: 'frank' },
    });
    to.answer = () => ({ status: 200 });
    const before = to.all.length;
    expect((await call('POST', `/v1/webhooks/${id}/replay`, {})).status).toBe(202);
    await until(async () => (await dead()).length === 0);
    expect(to.all.slice(before).map(({ event }) => event.subject)).toEqual(['frank']);
    await until(async () => (await call('GET', `/v1/webhooks/${id}`)).body.replaying === false);
    expect((await call('POST', `/v1/webhooks/${id}/replay`, { since: '2020-01-01T00:00:00Z' })).status).toBe(202);
    await until(() => to.all.length === before + 2);
    expect((await call('POST', `/v1/webhooks/${id}/replay`, { since: 'yesterday' })).body.detail).toContain('no RFC 3339 time');
  }, 60_000);

  it('that is gone is disabled, and gets what it missed once it is enabled', async () => {
    const to = await receiver();
    to.answer = () => ({ status: 410 });
    const { id } = await add(to, { types: ['device.connected'], devices: ['grace'] });
    await comeAndGo('grace');
    const state = async () => (await call('GET', `/v1/webhooks/${id}`)).body;
    await until(async () => (await state()).state === 'disabled');
    expect((await state()).disabled_reason).toContain('410');
    to.answer = () => ({ status: 200 });
    const before = to.all.length;
    expect((await call('POST', `/v1/webhooks/${id}/enable`)).body.state).toBe('on');
    await until(() => to.all.length > before, 30_000);
    expect(to.all.at(-1)?.event.subject).toBe('grace');
  }, 60_000);

  it('goes on with another instance when its own stops, and none delivers what another has', async () => {
    const to = await receiver();
    await add(to, { types: ['lease.granted'] });
    await comeAndGo('heidi');
    await until(() => to.typesOf('heidi').length === 1);
    own('two');
    await owners[0]?.stop();
    await comeAndGo('ivan');
    await until(() => to.typesOf('ivan').length === 1, 40_000);
    own('three');
    await comeAndGo('judy');
    await until(() => to.typesOf('judy').length === 1);
    expect(to.all.map(({ event }) => event.subject)).toEqual(['heidi', 'ivan', 'judy']);
  }, 60_000);
});

describe('a dead letter that goes while it is looked for', () => {
  const letter = JSON.stringify({ type: 'lease.granted', subject: 'frank' });

  it('is missing from the list, which comes all the same', async () => {
    const dead = new DeadLetters(stack.bus.nc, limits);
    for (let round = 0; round < 12; round += 1) {
      await dead.add('going', letter, 'no answer');
      const goes = new Promise((resolve) => setTimeout(resolve, round)).then(() => dead.forget('going'));
      const [list] = await Promise.all([dead.list('going', 10), goes]);
      expect(list.length).toBeLessThanOrEqual(1);
    }
  }, 60_000);

  it('ends a replay that waits for it', async () => {
    const dead = new DeadLetters(stack.bus.nc, limits);
    await dead.add('replayed', letter, 'no answer');
    const filter_subjects = deadSubject('replayed');
    const consumer = await jetstream(stack.bus.nc).consumers.get(DEAD_STREAM, { filter_subjects });
    // It is there when the replay begins, and gone before it is delivered.
    const going = new Proxy(consumer, {
      get: (of, key) => {
        if (key !== 'consume') return Reflect.get(of, key).bind(of);
        return async (options: ConsumeOptions) => {
          await dead.forget('replayed');
          return of.consume(options);
        };
      },
    });
    const results: unknown[] = [];
    await deliverAll(going, {
      ...{ limits, privateAllowed: true, signal: new AbortController().signal, until: Number.MAX_SAFE_INTEGER },
      webhook: () => ({ url: 'http://127.0.0.1:1/', secret: '', types: [], devices: [], state: { kind: 'on' } }) as never,
      onResult: (result) => results.push(result),
      onDead: async () => {},
    });
    expect(results).toEqual([]);
  }, 30_000);
});

describe('where a webhook may lead', () => {
  it.each([
    ['http://example.com/', 'expected an https URL of a public host'],
    ['https://127.0.0.1/', 'leads to 127.0.0.1'],
    ['https://2130706433/', 'leads to 127.0.0.1'],
    ['https://[::1]/', 'leads to ::1'],
    ['https://[::ffff:10.0.0.1]/', 'leads to'],
    ['https://169.254.169.254/latest/meta-data', 'leads to 169.254.169.254'],
    ['https://localhost/', 'leads to this machine'],
    ['https://user:secret@example.com/', 'holds credentials'],
    ['file:///etc/passwd', 'begins with file:'],
    ['nonsense', 'is no URL'],
  ])('%s is refused: %s', async (url, why) => {
    const { status, body } = await call('POST', '/v1/webhooks', { url }, strict);
    expect([status, body.detail]).toEqual([400, expect.stringContaining(why)]);
  });

  it('a name that resolves to a private address is refused when it is used', async () => {
    const to = await receiver();
    const { id } = await add(to); // allowed here; the other server's operator allows no private addresses
    expect((await call('POST', `/v1/webhooks/${id}/ping`, undefined, strict)).body).toMatchObject({
      delivered: false,
      status: null,
    });
    const answer = await new Promise((done) =>
      publicLookup('localhost', {}, (error, address) => done(error?.message ?? address)),
    );
    expect(answer).toMatch(/localhost is (?:127\.0\.0\.1|::1), which is no public address/);
    expect(to.all.filter(({ event }) => event.type === 'webhook.ping')).toEqual([]);
  });

  it('types and devices that cannot be are refused by name', async () => {
    const url = 'https://example.com/';
    expect((await call('POST', '/v1/webhooks', { url, types: ['conn.closed'] }, strict)).body.detail).toContain(
      'follow it on NATS',
    );
    expect((await call('POST', '/v1/webhooks', { url, types: ['device.lost'] }, strict)).body.detail).toContain(
      'expected some of',
    );
    expect((await call('POST', '/v1/webhooks', { url, devices: ['No'] }, strict)).body.detail).toContain('not a DNS label');
  });
});
