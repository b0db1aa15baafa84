import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { digest, type IngressStub, type ListenerStub, Stack, until } from './stack.ts';

vi.setConfig({ testTimeout: 20_000 });

let stack: Stack;
let listener: ListenerStub;
let one: IngressStub;
let two: IngressStub;
beforeAll(async () => {
  stack = await Stack.start({
    ...{ RECONNECTING_MS: 200, GRACE_MS: 1_000, COOL_DOWN_MS: 60_000, PROBE_MS: 1_000, SWEEP_MS: 50, ACQUIRE_MS: 6_000 },
    ...{ INSTANCE_TTL_MS: 1_000, INSTANCE_RENEW_MS: 200 },
  });
  listener = await stack.listener('tcp-listener-1', [30_000, 30_099]);
  one = await stack.ingress('ws-ingress-1');
  two = await stack.ingress('ws-ingress-2');
  await Promise.all([stack.service('lease-manager', 1), stack.service('lease-manager', 2), stack.service('port-allocator', 1)]);
}, 30_000);
afterAll(() => stack.stop());

describe('an acquire', () => {
  it('binds before it answers, and its events reach the stream in order', async () => {
    await stack.addDevice('alice');
    const grant = await stack.granted('alice');
    expect(grant).toMatchObject({ resumed: false, listener: 'tcp-listener-1', grace_ms: 1_000 });
    expect(grant.endpoints[0]?.host).toMatch(/^[a-z]+-[a-z]+-[a-z2-7]{6}\.culvert\.localhost$/);
    expect(grant.endpoints[1]).not.toHaveProperty('host');
    expect(listener.bound.get('alice')).toMatchObject({ epoch: grant.epoch, state: 'held', token_digests: [digest('alice')] });
    expect(await stack.eventsOf('alice', 2)).toEqual(['lease.granted connected', 'device.connected connected']);
  });

  it('is refused without a valid token, before anything else happens', async () => {
    await stack.addDevice('token-a');
    await stack.addDevice('token-b');
    expect(await stack.acquire('token-a', { token_digest: digest('token-b') })).toMatchObject({ ok: false, code: 'forbidden' });
    expect(await stack.acquire('token-a', { token_digest: digest('x') })).toMatchObject({ ok: false, code: 'unauthorized' });
    expect(await stack.acquire('token-z', { token_digest: digest('token-b') })).toMatchObject({ code: 'unauthorized' });
  });

  it('resumes with the same names and ports after a bye, and after an expiry gets new ones', async () => {
    await stack.addDevice('bob');
    const first = await stack.granted('bob');
    const release = await stack.bus.request('lease.release', { device: 'bob', epoch: first.epoch, control: 'c1', reason: 'bye' });
    expect(release).toEqual({ ok: true, state: 'grace' });
    await until(() => listener.bound.get('bob')?.state === 'grace');
    const second = await stack.granted('bob', { control: 'c2' });
    expect(second).toMatchObject({ resumed: true, endpoints: first.endpoints });
    await stack.bus.request('lease.release', { device: 'bob', epoch: second.epoch, control: 'c2', reason: 'heartbeat_lost' });
    await until(() => listener.bound.get('bob')?.state === 'reconnecting');
    await until(() => !listener.bound.has('bob'));
    const third = await stack.granted('bob');
    expect(third.resumed).toBe(false);
    expect(third.endpoints[0]?.host).not.toBe(first.endpoints[0]?.host);
    expect(third.endpoints.map((endpoint) => endpoint.public_port)).not.toEqual(first.endpoints.map((e) => e.public_port));
    expect(await stack.eventsOf('bob', 11)).toEqual([
      ...['lease.granted connected', 'device.connected connected', 'device.disconnected bye', 'lease.grace bye'],
      ...['lease.resumed resumed', 'device.connected resumed', 'device.disconnected heartbeat_lost'],
      ...['lease.grace heartbeat_lost', 'lease.expired grace_over', 'lease.granted connected', 'device.connected connected'],
    ]);
  });

  it('refuses a newcomer while the holder lives, and says so in an event', async () => {
    await stack.addDevice('carol');
    one.holder = 'alive';
    const first = await stack.granted('carol', { boot: 'a' });
    expect(await stack.acquire('carol', { boot: 'b', ingress: 'ws-ingress-2' })).toMatchObject({
      ok: false,
      code: 'name_in_use',
    });
    expect((await stack.eventsOf('carol', 3)).at(-1)).toBe('device.refused name_in_use');
    expect(listener.bound.get('carol')?.epoch).toBe(first.epoch);
  });

  it.each(['dead', 'silent'] as const)('takes over from a holder that is %s and is deaf to its late release', async (holder) => {
    const device = `takeover-${holder}`;
    await stack.addDevice(device);
    const first = await stack.granted(device, { boot: 'a' });
    one.holder = holder;
    const second = await stack.granted(device, { boot: 'b', ingress: 'ws-ingress-2', control: 'c2' });
    const silent = one.holder === 'silent';
    one.holder = 'alive';
    expect(second).toMatchObject({ resumed: true, endpoints: first.endpoints });
    expect(listener.calls.findLast((call) => call.startsWith(`bind ${device}`))).toBe(`bind ${device} held replace`);
    if (!silent) {
      await until(() => one.closed.some((close) => close.device === device));
      expect(one.closed.find((close) => close.device === device)).toEqual({ device, epoch: first.epoch, code: 'superseded' });
    }
    const late = await stack.bus.request('lease.release', {
      device,
      epoch: first.epoch,
      control: 'c1',
      reason: 'heartbeat_lost',
    });
    expect(late).toMatchObject({ ok: false, code: 'lease_lost' });
  });

  it('moves the same agent without a probe and tells the old connection', async () => {
    await stack.addDevice('dave');
    const first = await stack.granted('dave', { boot: 'a' });
    await stack.granted('dave', { boot: 'a', ingress: 'ws-ingress-2', control: 'c2' });
    await until(() => one.closed.some((close) => close.device === 'dave'));
    expect(one.closed.find((close) => close.device === 'dave')).toMatchObject({ epoch: first.epoch, code: 'moved' });
    expect(listener.calls.findLast((call) => call.startsWith('bind dave'))).toBe('bind dave held carry');
  });

  it('lets one of many win when all come at once, and no port leaks', async () => {
    await stack.addDevice('erin');
    const replies = await Promise.all(
      Array.from({ length: 8 }, (_, i) => stack.acquire('erin', { boot: `b${i}`, control: `c${i}` })),
    );
    expect(replies.filter(({ ok }) => ok)).toHaveLength(1);
    expect(replies.filter((reply) => !reply.ok && reply.code === 'name_in_use')).toHaveLength(7);
    const held = Object.values(await stack.redis.hgetall('ports:tcp-listener-1:held')).filter((of) => of.startsWith('erin '));
    expect(held).toHaveLength(2);
  });

  it('takes other ports for those that a foreign process holds', async () => {
    await stack.addDevice('frank');
    let foreign = 0;
    listener.onBind = (bind) => {
      foreign ||= bind.ports[1]?.public_port ?? 0;
      const failed = bind.ports.map((port) => port.public_port).filter((port) => port === foreign);
      return failed.length === 0 ? { ok: true } : { ok: false, code: 'unavailable', message: 'in use', failed };
    };
    const grant = await stack.granted('frank');
    listener.onBind = () => ({ ok: true });
    expect(grant.endpoints[1]?.public_port).not.toBe(foreign);
    expect(Number(await stack.redis.zscore('ports:tcp-listener-1', String(foreign)))).toBeGreaterThan(grant.epoch);
  });

  it('changes nothing when the listener does not bind', async () => {
    await stack.addDevice('grace');
    listener.onBind = () => ({ ok: false, code: 'internal', message: 'broken' });
    expect(await stack.acquire('grace')).toMatchObject({ ok: false, code: 'unavailable', retry_after_ms: 5_000 });
    listener.onBind = () => ({ ok: true });
    expect(await stack.redis.exists('lease:grace')).toBe(0);
    const held = Object.values(await stack.redis.hgetall('ports:tcp-listener-1:held'));
    expect(held.filter((of) => of.startsWith('grace '))).toEqual([]);
  });

  it('keeps what is equal when the port list has changed', async () => {
    await stack.addDevice('heidi');
    const first = await stack.granted('heidi', { boot: 'a' });
    const ports = [
      { port: 80, scheme: 'http' as const },
      { port: 443, scheme: 'https' as const },
    ];
    const second = await stack.granted('heidi', { boot: 'a', ports });
    expect(second.endpoints[0]).toEqual(first.endpoints[0]);
    expect(second.endpoints[1]).toMatchObject({ port: 443, scheme: 'https' });
    expect(second.endpoints[1]?.host).toBeDefined();
  });
});

describe('a revocation', () => {
  it('cuts at listener and ingress, ends the lease and kills the token', async () => {
    await stack.addDevice('ivan');
    const grant = await stack.granted('ivan', { ingress: 'ws-ingress-2' });
    expect(await stack.bus.request('device.revoke', { device: 'ivan' })).toEqual({ ok: true, missing: [] });
    expect(
      listener.calls
        .filter((call) => call.includes('ivan'))
        .slice(1)
        .sort(),
    ).toEqual(['cut ivan revoked', 'cut ivan revoked', 'unbind ivan']);
    expect(two.closed.at(-1)).toEqual({ device: 'ivan', epoch: grant.epoch, code: 'revoked' });
    expect(await stack.acquire('ivan')).toMatchObject({ ok: false, code: 'unauthorized' });
    const events = await stack.eventsOf('ivan', 4);
    expect(events.slice(2)).toEqual(['device.disconnected revoked', 'lease.expired revoked']);
    const shown = await stack.bus.request('device.show', { device: 'ivan' });
    expect(shown).toMatchObject({ ok: true, device: { revoked: true }, lease: null });
  });

  it('names an instance that does not acknowledge', async () => {
    await stack.addDevice('judy');
    const third = await stack.ingress('ws-ingress-3');
    await stack.granted('judy', { ingress: 'ws-ingress-3' });
    third.holder = 'silent';
    expect(await stack.bus.request('device.revoke', { device: 'judy' })).toEqual({ ok: true, missing: ['ws-ingress-3'] });
  });
});

describe('a lost ingress', () => {
  it('loses its leases to reconnecting, with an event of its own', async () => {
    await stack.addDevice('kate');
    const lost = await stack.ingress('ws-ingress-9');
    await stack.granted('kate', { ingress: 'ws-ingress-9' });
    await lost.stop();
    const events = await stack.eventsOf('kate', 3);
    expect(events[2]).toBe('device.disconnected ingress_gone');
    expect(await stack.eventsOf('ws-ingress-9', 1)).toEqual(['instance.gone silent']);
  });
});

describe('a list of leases', () => {
  it('gives a restarted listener all that it must bind', async () => {
    const all: string[] = [];
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: Awaited<ReturnType<typeof list>> = await list(cursor);
      if (!page.ok) throw new Error(page.message);
      all.push(...page.leases.map(({ lease, token_digest }) => `${lease.device} ${token_digest === digest(lease.device)}`));
      cursor = page.cursor;
    }
    expect(all).toContain('alice true');
    expect(new Set(all).size).toBe(all.length);
  });
  it('leads the routes of a listener that was started again at another address there', async () => {
    await stack.addDevice('moving-home');
    const { endpoints } = await stack.granted('moving-home');
    const [named] = endpoints;
    const route = `route:${named?.host}`;
    const changed: string[] = [];
    const follower = stack.redis.duplicate();
    await follower.subscribe('route.changed');
    follower.on('message', (_, host: string) => changed.push(host));
    expect(await stack.redis.hget(route, 'address')).toBe(`127.0.0.1:${named?.public_port}`);
    await listener.stop();
    listener = await stack.listener('tcp-listener-1', [30_000, 30_099], '127.0.0.7');
    expect(await list('')).toMatchObject({ ok: true });
    let cursor: string | null = '';
    while (cursor !== null) {
      const page: Awaited<ReturnType<typeof list>> = await list(cursor);
      cursor = page.ok ? page.cursor : null;
    }
    expect(await stack.redis.hget(route, 'address')).toBe(`127.0.0.7:${named?.public_port}`);
    await until(() => changed.filter((host) => host === named?.host).length === 1);
    follower.disconnect();
  });
  const list = (cursor: string) => stack.bus.request('lease.list', { cursor, limit: 2, listener: 'tcp-listener-1' });
});
