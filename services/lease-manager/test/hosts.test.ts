import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type IngressStub, type ListenerStub, Stack, until } from './stack.ts';

vi.setConfig({ testTimeout: 20_000 });

let stack: Stack;
let listener: ListenerStub;
let ingress: IngressStub;
beforeAll(async () => {
  stack = await Stack.start({
    ...{ RECONNECTING_MS: 200, GRACE_MS: 500, PROBE_MS: 1_000, SWEEP_MS: 50, ACQUIRE_MS: 6_000, RECOVERY_MS: 500 },
    ...{ INSTANCE_TTL_MS: 1_000, INSTANCE_RENEW_MS: 200 },
  });
  listener = await stack.listener('tcp-listener-1', [30_000, 30_099]);
  ingress = await stack.ingress('ws-ingress-1');
  await Promise.all([stack.service('lease-manager', 1), stack.service('port-allocator', 1)]);
}, 30_000);
afterAll(() => stack.stop());

const setHost = (device: string, label: string | null, port = 80) =>
  stack.bus.request('device.host', { device, port, label, by: 'root' });
const leaseOf = async (device: string) => {
  const reply = await stack.bus.request('lease.get', { device });
  return reply.ok ? reply.lease : null;
};
const hostOf = (granted: { endpoints: { port: number; host?: string }[] }) =>
  granted.endpoints.find(({ port }) => port === 80)?.host;
const expire = async (device: string, epoch: number) => {
  await stack.bus.request('lease.release', { device, epoch, control: 'c1', reason: 'bye' });
  await until(async () => (await leaseOf(device)) === null);
};

describe('a reserved host name', () => {
  it('is what a device gets when it connects, also after its lease has expired', async () => {
    await stack.addDevice('alice');
    expect(await setHost('alice', 'shop')).toEqual({ ok: true, host: 'shop.culvert.localhost', renamed: false });
    for (const resumed of [false, false]) {
      const granted = await stack.granted('alice');
      expect(granted).toMatchObject({ resumed, endpoints: [{ host: 'shop.culvert.localhost' }, {}] });
      await expire('alice', granted.epoch);
    }
  });

  it('moves the route of a device that is connected, and its listener, its ingress and the stream are told', async () => {
    await stack.addDevice('bob');
    const granted = await stack.granted('bob');
    const former = hostOf(granted);
    expect(await setHost('bob', 'kiosk')).toMatchObject({ renamed: true });
    expect(await stack.redis.exists(`route:${former}`)).toBe(0);
    expect(await stack.redis.hgetall('route:kiosk.culvert.localhost')).toMatchObject({ device: 'bob', state: 'held' });
    await until(() => listener.bound.get('bob')?.ports[0]?.host === 'kiosk.culvert.localhost');
    await until(() => ingress.told.has('bob'));
    expect(ingress.told.get('bob')).toMatchObject({ epoch: granted.epoch, endpoints: [{ host: 'kiosk.culvert.localhost' }, {}] });
    expect(await stack.eventsOf('bob', 3)).toContain('lease.moved renamed');
    expect(await setHost('bob', 'kiosk')).toMatchObject({ renamed: true }); // asked again: nothing changes
    expect((await leaseOf('bob'))?.rev).toBe(1);
  });

  it('moves the route of a device in grace, which still ends', async () => {
    await stack.addDevice('gina');
    const granted = await stack.granted('gina');
    await stack.bus.request('lease.release', { device: 'gina', epoch: granted.epoch, control: 'c1', reason: 'bye' });
    expect(await setHost('gina', 'barn')).toMatchObject({ renamed: true });
    expect(await stack.redis.pttl('route:barn.culvert.localhost')).toBeGreaterThan(0);
    await until(async () => (await stack.redis.exists('route:barn.culvert.localhost')) === 0);
  });

  it('is refused when it is no label, a reserved word, of a tcp endpoint, or taken, by name or by reservation', async () => {
    await stack.addDevice('carol');
    await stack.addDevice('dora');
    const granted = await stack.granted('carol');
    const label = hostOf(granted)?.split('.')[0] ?? '';
    for (const wrong of ['', 'Shop', 'a.b', '-a', 'xn--4gbrim', 'www', 'admin']) {
      expect(await setHost('dora', wrong), wrong).toMatchObject({
        ok: false,
        code: 'bad_request',
        message: expect.stringContaining('expected'),
      });
    }
    expect(await setHost('carol', 'ssh', 22)).toMatchObject({
      ok: false,
      code: 'bad_request',
      message: expect.stringContaining('tcp endpoint'),
    });
    expect(await setHost('dora', label)).toMatchObject({
      ok: false,
      code: 'already_exists',
      message: expect.stringContaining('another device now'),
    });
    expect(await setHost('dora', 'pier')).toMatchObject({ ok: true });
    expect(await setHost('carol', 'pier')).toMatchObject({
      ok: false,
      code: 'already_exists',
      message: expect.stringContaining('reserved for dora'),
    });
    expect(await setHost('dora', 'pier', 81)).toMatchObject({ ok: false, code: 'already_exists' });
    expect(await setHost('nobody', 'quay')).toMatchObject({ ok: false, code: 'not_found' });
    expect(hostOf((await leaseOf('carol')) ?? { endpoints: [] })).toBe(`${label}.culvert.localhost`);
    expect(await setHost('carol', label)).toMatchObject({ renamed: true }); // its own, for ever
  });

  it('lets another have it only once it is given back and the lease with it is over', async () => {
    await stack.addDevice('emil');
    await stack.addDevice('fred');
    expect(await setHost('emil', 'mill')).toMatchObject({ ok: true });
    const granted = await stack.granted('emil');
    expect(await setHost('emil', null)).toEqual({ ok: true, host: null, renamed: false });
    expect(await setHost('fred', 'mill')).toMatchObject({ ok: false, code: 'already_exists' });
    await expire('emil', granted.epoch);
    expect(await setHost('fred', 'mill')).toMatchObject({ ok: true });
    expect(hostOf(await stack.granted('emil'))).not.toBe('mill.culvert.localhost');
  });

  it('replaces the one before, which is free then', async () => {
    await stack.addDevice('hugo');
    await stack.addDevice('ida');
    await setHost('hugo', 'dock-1');
    await setHost('hugo', 'dock-2');
    expect(await setHost('ida', 'dock-1')).toMatchObject({ ok: true });
    expect(hostOf(await stack.granted('hugo'))).toBe('dock-2.culvert.localhost');
  });

  it('outlives the store', async () => {
    await stack.addDevice('jane');
    await setHost('jane', 'forge');
    await stack.redis.flushall();
    await until(async () => (await setHost('jane', 'forge').catch(() => undefined))?.ok === true);
    expect(await setHost('alice', 'forge')).toMatchObject({ code: 'already_exists' });
    expect(hostOf(await stack.granted('jane'))).toBe('forge.culvert.localhost');
  });
});
