import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type Service, Stack, until } from '../../lease-manager/test/stack.ts';

vi.setConfig({ testTimeout: 20_000 });

let stack: Stack;
let allocators: Service[];
beforeAll(async () => {
  stack = await Stack.start({ GRACE_MS: 200, SWEEP_MS: 50, COOL_DOWN_MS: 100 });
  await stack.listener('tcp-listener-1', [30_000, 30_004]);
  await stack.listener('tcp-listener-2', [30_010, 30_014]);
  await stack.ingress('ws-ingress-1');
  const started = [stack.service('port-allocator', 1), stack.service('port-allocator', 2)];
  await stack.service('lease-manager');
  allocators = await Promise.all(started);
  for (let i = 0; i < 12; i++) await stack.addDevice(`d${i}`);
}, 30_000);
afterAll(() => stack.stop());

const ports = [{ port: 22, scheme: 'tcp' as const }];

describe('the allocation of ports', () => {
  it('gives out every single port, evenly, and refuses the next with an event', async () => {
    const grants = await Promise.all(Array.from({ length: 10 }, (_, i) => stack.granted(`d${i}`, { ports })));
    const given = grants.map(({ endpoints }) => endpoints[0]?.public_port).sort();
    expect(given).toEqual([30_000, 30_001, 30_002, 30_003, 30_004, 30_010, 30_011, 30_012, 30_013, 30_014]);
    expect(await stack.acquire('d10', { ports })).toMatchObject({ ok: false, code: 'ports_exhausted', retry_after_ms: 10_000 });
    expect(await stack.acquire('d11', { ports })).toMatchObject({ ok: false, code: 'ports_exhausted' });
    for (const listener of ['tcp-listener-1', 'tcp-listener-2']) {
      expect(await stack.eventsOf(listener, 1)).toEqual(['ports.exhausted ports_exhausted']);
    }
    const { epoch } = grants[3] ?? { epoch: 0 };
    await stack.bus.request('lease.release', { device: 'd3', epoch, control: 'c1', reason: 'bye' });
    await until(async () => (await stack.acquire('d10', { ports })).ok);
    const fill = await stack.bus.request('port.fill', {});
    expect(fill.ok && fill.listeners.map(({ held: taken, free, cooling }) => [taken, free, cooling])).toEqual([
      [5, 0, 0],
      [5, 0, 0],
    ]);
    const held = {
      ...(await stack.redis.hgetall('ports:tcp-listener-1:held')),
      ...(await stack.redis.hgetall('ports:tcp-listener-2:held')),
    };
    expect(Object.keys(held)).toHaveLength(10);
    expect(new Set(Object.values(held)).size).toBe(10);
  });

  it('never takes a port from the lease that has it, and takes back what a finished epoch still holds', async () => {
    const lease = await stack.bus.request('lease.get', { device: 'd0' });
    if (!lease.ok || lease.lease === null) throw new Error('d0 has no lease');
    const { epoch, listener, endpoints } = lease.lease;
    const taken = { device: 'd0', epoch, listener, ports: endpoints.map(({ public_port }) => public_port) };
    expect(await stack.bus.request('port.release', taken)).toEqual({ ok: true, released: 0 });
    await stack.redis.hset('ports:tcp-listener-1:held', '30099', 'ghost 7');
    const ghost = { device: 'ghost', epoch: 7, listener: 'tcp-listener-1', ports: [30_099] };
    expect(await stack.bus.request('port.release', { ...ghost, epoch: 6 })).toEqual({ ok: true, released: 0 });
    expect(await stack.bus.request('port.release', ghost)).toEqual({ ok: true, released: 1 });
    expect(await stack.redis.zscore('ports:tcp-listener-1', '30099')).toBeNull();
  });

  it('reserves nothing for a tenure that is not pending', async () => {
    const reply = await stack.bus.request('port.allocate', { device: 'd0', epoch: 5, count: 1, listener: null });
    expect(reply).toMatchObject({ ok: false, code: 'lease_lost' });
    const nowhere = await stack.bus.request('port.allocate', { device: 'd0', epoch: 5, count: 1, listener: 'tcp-listener-7' });
    expect(nowhere).toMatchObject({ ok: false, code: 'unavailable' });
  });

  it('catches up with expiries that happened while no allocator ran', async () => {
    await Promise.all(allocators.map((allocator) => allocator.stop()));
    await stack.redis.hset('ports:tcp-listener-1:held', '30099', 'ghost 8');
    const endpoints = [{ port: 22, scheme: 'tcp', public_port: 30_099 }];
    const data = JSON.stringify({ epoch: 8, seq: 0, reason: 'grace_over', listener: 'tcp-listener-1', endpoints });
    const fields = { id: 'test:ghost:8:0', type: 'lease.expired', device: 'ghost', time: '1', data };
    await stack.redis.xadd('outbox', '*', ...Object.entries(fields).flat());
    expect(await stack.eventsOf('ghost', 1)).toEqual(['lease.expired grace_over']);
    await stack.service('port-allocator', 3);
    await until(async () => (await stack.redis.hget('ports:tcp-listener-1:held', '30099')) === null);
  });
});
