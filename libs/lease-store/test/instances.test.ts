import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { keys } from '../src/index.ts';
import { acquire, digest, type StoreFixture, startStore } from './fixture.ts';

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore();
});
afterAll(() => f.stop());
beforeEach(async () => {
  await f.reset();
  await f.store.devices.add('alice', digest('alice'));
});

const INGRESS = 'ws-ingress-1';
const appear = async (incarnation: string, state = 'live') => {
  const record = { id: INGRESS, service: 'ws-ingress', incarnation, state };
  await f.redis.zadd('instance:index:ws-ingress', 1, INGRESS);
  await f.redis.set(keys.instance(INGRESS), JSON.stringify(record));
};
const judge = () => f.store.instances.judge(['ws-ingress']);
const reasons = async () =>
  (await f.events())
    .filter(({ type }) => type === 'instance.gone')
    .map(({ data }) => (JSON.parse(data) as { reason: string }).reason);
/** The sweeps have run without a gap for long enough. */
const endAmnesty = async () => {
  await judge();
  await f.redis.del(keys.sweepAmnesty, keys.sweepFloor);
};

describe('the judgement of instances', () => {
  it('believes silence only while the sweeps themselves had no gap', async () => {
    await appear('x');
    await acquire(f, 'alice');
    await judge();
    await f.redis.del(keys.instance(INGRESS));
    expect(await judge()).toEqual([]); // the first sweep ever was a moment ago
    await endAmnesty();
    await f.redis.set(keys.sweepLast, Date.now() - 60_000);
    expect(await judge()).toEqual([]);
    await endAmnesty();
    expect(await judge()).toEqual([INGRESS]);
    expect(await judge()).toEqual([]);
    expect(await reasons()).toEqual(['silent']);
  });

  it('knows a restarted and a stopped instance from a silent one', async () => {
    await appear('x');
    await judge();
    await appear('y', 'winding_down');
    expect(await judge()).toEqual([INGRESS]);
    await f.redis.del(keys.instance(INGRESS));
    await endAmnesty();
    expect(await judge()).toEqual([INGRESS]);
    expect(await reasons()).toEqual(['restarted', 'stopped']);
  });

  it('releases only the leases of the start that is gone', async () => {
    await appear('x');
    const { epoch } = await acquire(f, 'alice');
    expect(await f.store.leases.releaseGone('alice', epoch)).toEqual({ verdict: 'stale' });
    await appear('y');
    await f.store.devices.add('bob', digest('bob'));
    const bob = await acquire(f, 'bob');
    expect(await f.store.leases.releaseGone('alice', epoch)).toEqual({ verdict: 'ok', state: 'reconnecting' });
    expect(await f.store.leases.releaseGone('bob', bob.epoch)).toEqual({ verdict: 'stale' });
    expect(await f.store.leases.heldBy(INGRESS, undefined, 10)).toEqual(['bob']);
  });

  it('remembers a gone instance until its leases are released, and a second ending meanwhile', async () => {
    await acquire(f, 'alice');
    await endAmnesty();
    expect(await judge()).toEqual([INGRESS]);
    const [gone] = await f.store.instances.gone();
    if (gone === undefined) throw new Error('nothing is gone');
    await f.redis.zadd(keys.goneInstances, Number(gone.mark) + 1, INGRESS);
    await f.store.instances.cleaned(gone);
    expect(await f.store.instances.gone()).toHaveLength(1);
  });

  it('gives leases in grace a fair time after the whole system stood still', async () => {
    await appear('x');
    const { epoch } = await acquire(f, 'alice');
    await f.store.leases.release('alice', epoch, 'c1', 'bye');
    await f.redis.hset(keys.lease('alice'), 'due', '1');
    await judge();
    expect((await f.store.leases.advance('alice')).step).toBe('extended');
    expect((await f.store.leases.get('alice')).lease?.due).toBeGreaterThan(epoch + 100_000);
    expect((await f.store.leases.advance('alice')).step).toBe('none');
  });
});
