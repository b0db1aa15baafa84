import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { keys } from '../src/index.ts';
import { acquire, digest, LISTENER, type StoreFixture, startStore, tenure } from './fixture.ts';

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore();
});
afterAll(() => f.stop());
beforeEach(async () => {
  await f.reset();
  for (const device of ['alice', 'bob']) await f.store.devices.add(device, digest(device));
});

const free = async () => (await f.redis.zrange(keys.freePorts(LISTENER), '0', '-1')).map(Number).sort((a, b) => a - b);
const tcp = [{ port: 22, scheme: 'tcp' as const }];

describe('the ports of a listener', () => {
  it('follow a changed range, held ones outside it until they are released', async () => {
    await f.store.ports.register(LISTENER, [30_000, 30_003]);
    const { epoch, endpoints } = await acquire(f, 'alice', {}, tcp, [30_000, 30_003]);
    expect(endpoints[0]?.public_port).toBe(30_000);
    await f.store.ports.register(LISTENER, [30_002, 30_005]);
    expect(await free()).toEqual([30_002, 30_003, 30_004, 30_005]);
    expect(await f.redis.hgetall(keys.heldPorts(LISTENER))).toEqual({ '30000': `alice ${epoch}` });
    await f.store.leases.end('alice');
    expect(await free()).toEqual([30_002, 30_003, 30_004, 30_005]);
    expect(await f.redis.hlen(keys.heldPorts(LISTENER))).toBe(0);
    await f.store.ports.register(LISTENER, [30_000, 30_000]);
    expect(await free()).toEqual([30_000]);
  });

  it('are reserved all or none, from the longest free one on', async () => {
    const begun = await f.store.leases.begin('alice', tenure('alice'), { expectedEpoch: 0, mayBeHeld: false });
    const epoch = begun.verdict === 'ok' ? begun.epoch : 0;
    await f.store.ports.register(LISTENER, [30_000, 30_002]);
    await f.redis.zadd(keys.freePorts(LISTENER), 5, '30000');
    const request = { device: 'alice', epoch, listener: LISTENER, range: [30_000, 30_002] as const, unusable: [] };
    expect(await f.store.ports.reserve({ ...request, count: 4 })).toEqual({ verdict: 'exhausted', free: 3 });
    expect(await f.store.ports.reserve({ ...request, count: 2 })).toEqual({ verdict: 'ok', ports: [30_001, 30_002] });
    expect(await f.store.ports.reserve({ ...request, epoch: epoch - 1, count: 1 })).toEqual({ verdict: 'stale' });
    const unusable = { ...request, count: 1, unusable: [30_001] };
    expect(await f.store.ports.reserve(unusable)).toEqual({ verdict: 'ok', ports: [30_000] });
    await f.store.leases.abandon('alice', epoch);
    expect(await f.store.ports.free(LISTENER)).toBe(2); // the unusable one cools down
  });

  it('return when the store itself has dropped their lease', async () => {
    await acquire(f, 'alice', {}, tcp);
    await acquire(f, 'bob', {}, tcp);
    await f.redis.del(keys.lease('alice'));
    expect(await f.store.ports.releaseOrphans(LISTENER)).toBe(1);
    expect(await f.store.ports.releaseOrphans(LISTENER)).toBe(0);
    expect(await f.redis.hlen(keys.heldPorts(LISTENER))).toBe(1);
  });

  it('stay with the lease that uses them, whoever asks for their release', async () => {
    const { epoch, endpoints } = await acquire(f, 'alice', {}, tcp);
    const port = endpoints[0]?.public_port as number;
    expect(await f.store.ports.release('alice', epoch, LISTENER, [port])).toBe(0);
    expect(await f.store.ports.release('alice', epoch - 1, LISTENER, [port])).toBe(0);
    expect(await f.redis.hgetall(keys.heldPorts(LISTENER))).toEqual({ [port]: `alice ${epoch}` });
  });

  it('are announced as exhausted once a minute at most', async () => {
    expect(await f.store.ports.announceExhausted(LISTENER, 'alice')).toBe(true);
    expect(await f.store.ports.announceExhausted(LISTENER, 'bob')).toBe(false);
    expect((await f.events()).map(({ type, subject }) => `${type} ${subject}`)).toEqual([`ports.exhausted ${LISTENER}`]);
  });
});
