import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { keys } from '../src/index.ts';
import { acquire, digest, LISTENER, type StoreFixture, startStore, tenure } from './fixture.ts';

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore({ RECONNECTING_MS: 30, GRACE_MS: 60, COOL_DOWN_MS: 200, TENURE_CONFIRM_MS: 500, ACQUIRE_MS: 500 });
});
afterAll(() => f.stop());
beforeEach(async () => {
  await f.reset();
  await f.store.devices.add('alice', digest('alice'));
});

const types = async () =>
  (await f.events()).map(({ type, data }) => `${type} ${(JSON.parse(data) as { reason: string }).reason}`);
const until = async (well: () => Promise<boolean>): Promise<void> => {
  const deadline = Date.now() + 5_000;
  while (!(await well())) {
    if (Date.now() > deadline) throw new Error('it did not come true in 5 s');
    await new Promise((done) => setTimeout(done, 5));
  }
};
const advanceUntil = (step: string) => until(async () => (await f.store.leases.advance('alice')).step === step);

describe('a lease', () => {
  it('is held once it is confirmed, with routes and events of one epoch', async () => {
    const { epoch, endpoints } = await acquire(f, 'alice', { boot: 'a' });
    const { lease, pending, tokenDigest } = await f.store.leases.get('alice');
    expect(lease).toMatchObject({ device: 'alice', state: 'held', epoch, rev: 0, due: null, listener: LISTENER, endpoints });
    expect(pending).toBeNull();
    expect(tokenDigest).toBe(digest('alice'));
    expect(await f.redis.hgetall(keys.route(endpoints[0]?.host ?? ''))).toMatchObject({
      device: 'alice',
      address: `127.0.0.1:${endpoints[0]?.public_port}`,
      scheme: 'http',
      state: 'held',
      epoch: String(epoch),
      keepalive: '1',
    });
    const events = await f.events();
    expect(events.map(({ id }) => id.split(':').slice(1).join(':'))).toEqual([`alice:${epoch}:0`, `alice:${epoch}:1`]);
    expect(await types()).toEqual(['lease.granted connected', 'device.connected connected']);
  });

  it('publishes every host whose route changes, and that a device has names', async () => {
    const heard: string[] = [];
    const subscriber = f.redis.duplicate();
    await subscriber.subscribe('route.changed');
    subscriber.on('message', (_, host: string) => heard.push(host));
    const { epoch, endpoints } = await acquire(f, 'alice');
    await f.store.leases.release('alice', epoch, 'c1', 'bye');
    await until(async () => heard.length === 3);
    expect(heard).toEqual([endpoints[0]?.host, 'lease alice', endpoints[0]?.host]);
    subscriber.disconnect();
  });

  it('goes to grace at once after a bye and keeps names and ports for the same device', async () => {
    const first = await acquire(f, 'alice');
    expect(await f.store.leases.release('alice', first.epoch, 'c1', 'bye')).toEqual({ verdict: 'ok', state: 'grace' });
    expect(await f.redis.hget(keys.route(first.endpoints[0]?.host ?? ''), 'state')).toBe('grace');
    const second = await acquire(f, 'alice', { control: 'c2' });
    expect(second.endpoints).toEqual(first.endpoints);
    expect(second.epoch).toBeGreaterThan(first.epoch);
    expect(await types()).toEqual([
      ...['lease.granted connected', 'device.connected connected', 'device.disconnected bye', 'lease.grace bye'],
      ...['lease.resumed resumed', 'device.connected resumed'],
    ]);
  });

  it('is reconnecting, then in grace, then expired when the device was lost and stays away', async () => {
    const { epoch, endpoints } = await acquire(f, 'alice');
    expect(await f.store.leases.release('alice', epoch, 'c1', 'heartbeat_lost')).toEqual({
      verdict: 'ok',
      state: 'reconnecting',
    });
    await advanceUntil('grace');
    await advanceUntil('expired');
    expect((await f.store.leases.get('alice')).lease).toBeNull();
    expect(await f.redis.exists(keys.route(endpoints[0]?.host ?? ''))).toBe(0);
    expect(await f.redis.hlen(keys.heldPorts(LISTENER))).toBe(0);
    expect(await f.redis.zcard(keys.due)).toBe(0);
    expect((await types()).slice(2)).toEqual([
      ...['device.disconnected heartbeat_lost', 'lease.grace heartbeat_lost', 'lease.expired grace_over'],
    ]);
    const again = await acquire(f, 'alice');
    expect(again.endpoints[0]?.host).not.toBe(endpoints[0]?.host);
    expect(again.epoch).toBeGreaterThan(epoch);
  });

  it('puts the ports of an expired lease into cool-down before anybody gets them', async () => {
    await f.store.devices.add('bob', digest('bob'));
    const range = [30_000, 30_001] as const;
    const { epoch } = await acquire(f, 'alice', {}, undefined, range);
    await f.store.leases.release('alice', epoch, 'c1', 'bye');
    await advanceUntil('expired');
    await expect(acquire(f, 'bob', {}, undefined, range)).rejects.toThrow('exhausted');
    await until(() =>
      acquire(f, 'bob', {}, undefined, range).then(
        () => true,
        () => false,
      ),
    );
  });

  it('ignores a late release of an older tenure or another connection', async () => {
    const first = await acquire(f, 'alice', { boot: 'a', control: 'c1' });
    const second = await acquire(f, 'alice', { boot: 'a', control: 'c2' });
    expect(await f.store.leases.release('alice', first.epoch, 'c1', 'heartbeat_lost')).toEqual({ verdict: 'stale' });
    expect(await f.store.leases.release('alice', second.epoch, 'c1', 'heartbeat_lost')).toEqual({ verdict: 'stale' });
    expect((await f.store.leases.get('alice')).lease?.state).toBe('held');
    expect(await f.store.leases.release('alice', second.epoch, 'c2', 'bye')).toEqual({ verdict: 'ok', state: 'grace' });
    expect(await f.store.leases.release('alice', second.epoch, 'c2', 'bye')).toEqual({ verdict: 'unchanged', state: 'grace' });
    expect((await types()).filter((type) => type.startsWith('device.disconnected'))).toHaveLength(1);
  });

  it('moves without a disconnected event when the same boot comes again', async () => {
    const first = await acquire(f, 'alice', { boot: 'a' });
    await acquire(f, 'alice', { boot: 'a', control: 'c2', ingress: 'ws-ingress-2' });
    expect((await types()).slice(2)).toEqual(['lease.resumed moved', 'device.connected moved']);
    expect(JSON.parse((await f.events()).at(-1)?.data ?? '')).toMatchObject({
      previous_epoch: first.epoch,
      ingress: 'ws-ingress-2',
    });
    expect(await f.store.leases.heldBy('ws-ingress-1', undefined, 10)).toEqual([]);
    expect(await f.store.leases.heldBy('ws-ingress-2', undefined, 10)).toEqual(['alice']);
  });

  it('says in the old tenure that another boot has taken over', async () => {
    const first = await acquire(f, 'alice', { boot: 'a' });
    const second = await acquire(f, 'alice', { boot: 'b' });
    const events = await f.events();
    expect((await types()).slice(2)).toEqual([
      ...['device.disconnected taken_over', 'lease.resumed taken_over', 'device.connected taken_over'],
    ]);
    expect(events.slice(2).map(({ id }) => id.split(':').slice(2).join(':'))).toEqual([
      ...[`${first.epoch}:2`, `${second.epoch}:0`, `${second.epoch}:1`],
    ]);
  });

  it('refuses a begin whose expectation is wrong and one that another tenure came before', async () => {
    const { leases } = f.store;
    const { epoch } = await acquire(f, 'alice');
    const begin = (expectedEpoch: number, mayBeHeld: boolean, boot = '') =>
      leases.begin('alice', tenure('alice', { boot }), { expectedEpoch, mayBeHeld });
    expect(await begin(0, true)).toEqual({ verdict: 'changed' });
    expect(await begin(epoch, false)).toEqual({ verdict: 'changed' });
    expect(await begin(epoch, true, 'b')).toMatchObject({ verdict: 'ok' });
    expect(await begin(epoch, true, 'c')).toEqual({ verdict: 'busy' });
    expect(await begin(epoch, true, 'b')).toMatchObject({ verdict: 'ok' });
  });

  it('confirms only the newest tenure', async () => {
    const { leases } = f.store;
    const begin = async (boot: string) => {
      const begun = await leases.begin('alice', tenure('alice', { boot }), { expectedEpoch: 0, mayBeHeld: false });
      return begun.verdict === 'ok' ? begun.epoch : 0;
    };
    const first = await begin('a');
    const second = await begin('a');
    const confirm = (epoch: number) =>
      leases.confirm('alice', {
        epoch,
        listener: LISTENER,
        endpoints: [{ port: 22, scheme: 'tcp', public_port: 30_000 }],
        routeHost: '::1',
      });
    expect(await confirm(first)).toEqual({ verdict: 'stale', boot: 'a' });
    expect(await confirm(second)).toEqual({ verdict: 'ports_lost', port: 30_000 });
    expect(await f.store.leases.abandon('alice', first)).toBe(false);
    expect(await f.store.leases.abandon('alice', second)).toBe(true);
    expect(await f.redis.exists(keys.lease('alice'))).toBe(0);
  });

  it('falls back to its former state and due time when a tenure is not confirmed', async () => {
    const { epoch, endpoints } = await acquire(f, 'alice');
    await f.store.leases.release('alice', epoch, 'c1', 'bye');
    const before = await f.store.leases.get('alice');
    const begun = await f.store.leases.begin('alice', tenure('alice'), { expectedEpoch: epoch, mayBeHeld: false });
    expect(begun.verdict).toBe('ok');
    await until(async () => (await f.store.leases.advance('alice')).abandoned !== 0);
    expect(await f.events()).toHaveLength(5); // the grace was over long before: it expired in the same breath
    expect((await types()).at(-1)).toBe('lease.expired grace_over');
    expect(before.lease).toMatchObject({ state: 'grace', endpoints });
    expect(await f.redis.exists(keys.lease('alice'))).toBe(0);
  });

  it('refuses a host name that another device has', async () => {
    await f.store.devices.add('bob', digest('bob'));
    const { endpoints } = await acquire(f, 'alice');
    const begun = await f.store.leases.begin('bob', tenure('bob'), { expectedEpoch: 0, mayBeHeld: false });
    const epoch = begun.verdict === 'ok' ? begun.epoch : 0;
    const range = [30_000, 30_009] as const;
    const reserved = await f.store.ports.reserve({ device: 'bob', epoch, listener: LISTENER, range, count: 1, unusable: [] });
    const port = reserved.verdict === 'ok' ? (reserved.ports[0] ?? 0) : 0;
    const host = endpoints[0]?.host ?? '';
    const stolen = [{ port: 80, scheme: 'http' as const, host, public_port: port }];
    expect(await f.store.leases.confirm('bob', { epoch, listener: LISTENER, endpoints: stolen, routeHost: 'h' })).toEqual({
      verdict: 'host_taken',
      host,
    });
  });

  it('keeps equal entries, cools missing ones down and takes new ones when the list changes', async () => {
    const first = await acquire(f, 'alice', { boot: 'a' });
    const second = await acquire(f, 'alice', { boot: 'a' }, [
      { port: 80, scheme: 'http' },
      { port: 5432, scheme: 'tcp' },
    ]);
    expect(second.endpoints[0]).toEqual(first.endpoints[0]);
    expect(second.endpoints[1]?.public_port).not.toBe(first.endpoints[1]?.public_port);
    const held = await f.redis.hgetall(keys.heldPorts(LISTENER));
    expect(held).toEqual(Object.fromEntries(second.endpoints.map((one) => [one.public_port, `alice ${second.epoch}`])));
    const cooling = Number(await f.redis.zscore(keys.freePorts(LISTENER), String(first.endpoints[1]?.public_port)));
    expect(cooling).toBeGreaterThan(second.epoch);
  });

  it('ends at once when the device is revoked, pending tenure included, and takes the token with it', async () => {
    const { epoch } = await acquire(f, 'alice');
    const begun = await f.store.leases.begin('alice', tenure('alice', { boot: 'b' }), { expectedEpoch: epoch, mayBeHeld: true });
    expect(await f.store.leases.revoke('alice')).toMatchObject({ lease: { epoch } });
    expect((await types()).slice(2)).toEqual(['device.disconnected revoked', 'lease.expired revoked']);
    const late = { epoch: begun.verdict === 'ok' ? begun.epoch : 0, listener: LISTENER, endpoints: [], routeHost: 'h' };
    expect((await f.store.leases.confirm('alice', late)).verdict).toBe('stale');
    expect(await f.store.devices.authenticate('alice', digest('alice'))).toBe('unauthorized');
    const again = await f.store.leases.begin('alice', tenure('alice'), { expectedEpoch: 0, mayBeHeld: false });
    expect(again).toEqual({ verdict: 'unauthorized' });
    expect(await f.redis.hlen(keys.heldPorts(LISTENER))).toBe(0);
  });

  it('is not granted by a store that has lost its incarnation', async () => {
    await f.redis.del(keys.incarnation);
    await expect(acquire(f, 'alice')).rejects.toMatchObject({ code: 'recovering' });
  });

  it('is listed page by page, per listener too', async () => {
    for (const name of ['bob', 'carol']) await f.store.devices.add(name, digest(name));
    for (const name of ['carol', 'alice', 'bob']) await acquire(f, name, {}, [{ port: 22, scheme: 'tcp' }]);
    const first = await f.store.leases.list({ limit: 2, listener: LISTENER });
    expect(first.leases.map(({ lease }) => lease.device)).toEqual(['alice', 'bob']);
    const rest = await f.store.leases.list({ limit: 2, listener: LISTENER, cursor: first.cursor ?? undefined });
    expect(rest).toMatchObject({ leases: [{ lease: { device: 'carol' }, tokenDigest: digest('carol') }], cursor: null });
    expect((await f.store.leases.list({ limit: 10, listener: 'tcp-listener-2' })).leases).toEqual([]);
  });
});

describe('the registry', () => {
  it('tells a stranger, a wrong name and a revoked device apart as far as they may know', async () => {
    const { devices } = f.store;
    await devices.add('bob', digest('bob'));
    expect(await devices.authenticate('alice', digest('alice'))).toBe('ok');
    expect(await devices.authenticate('alice', digest('bob'))).toBe('forbidden');
    expect(await devices.authenticate('nobody', digest('bob'))).toBe('unauthorized');
    expect(await devices.authenticate('alice', digest('x'))).toBe('unauthorized');
    await devices.rotate('bob', digest('bob1'));
    expect(await devices.authenticate('bob', digest('bob'))).toBe('ok');
    expect(await devices.authenticate('bob', digest('bob1'))).toBe('next');
    expect(await devices.promote('bob', digest('bob1'))).toBe(true);
    expect(await devices.promote('bob', digest('bob1'))).toBe(false);
    expect(await devices.authenticate('bob', digest('bob'))).toBe('unauthorized');
    expect(await devices.authenticate('bob', digest('bob1'))).toBe('ok');
    await devices.rotate('bob', digest('never used'));
    await devices.rotate('bob', digest('bob2'), true);
    for (const dead of ['bob1', 'never used']) expect(await devices.authenticate('bob', digest(dead))).toBe('unauthorized');
    expect(await devices.authenticate('bob', digest('bob2'))).toBe('ok');
    await f.store.leases.revoke('bob');
    expect(await devices.authenticate('alice', digest('bob2'))).toBe('unauthorized');
    await expect(devices.rotate('bob', digest('bob3'))).rejects.toMatchObject({ code: 'not_found' });
    await expect(devices.add('alice', digest('other'))).rejects.toMatchObject({ code: 'already_exists' });
    await devices.add('bob', digest('bob4'));
    expect((await devices.list(undefined, 10)).devices.map(({ device, revoked }) => [device, revoked])).toEqual([
      ['alice', false],
      ['bob', false],
    ]);
  });
});
