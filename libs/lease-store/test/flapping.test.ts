import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { keys } from '../src/index.ts';
import { acquire, digest, type StoreFixture, startStore } from './fixture.ts';

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore({ FLAPPING_WINDOW_MS: 60_000, FLAPPING_MS: 1_000 });
});
afterAll(() => f.stop());
beforeEach(async () => {
  await f.reset();
  await f.store.devices.add('alice', digest('alice'));
});

const come = (boot: string) => acquire(f, 'alice', { boot, remote: `address of ${boot}` });
const damp = (boot: string): Promise<number> => f.store.leases.damp('alice', boot, `address of ${boot}`);
const flapping = async () => (await f.events()).filter(({ type }) => type === 'device.flapping');

describe('two agents that oust each other in turn', () => {
  it('are slowed down, longer with every turn, and named in one event', async () => {
    await come('a');
    expect(await damp('b')).toBe(0);
    await come('b');
    const first = await damp('a');
    expect(first).toBeGreaterThan(500);
    expect(first).toBeLessThanOrEqual(1_000);
    await come('a');
    const second = await damp('b');
    expect(second).toBeGreaterThan(1_500);
    expect(second).toBeLessThanOrEqual(2_000);
    const { lease } = await f.store.leases.get('alice');
    const events = await flapping();
    expect(events).toHaveLength(1);
    expect(JSON.parse(events[0]?.data ?? '')).toMatchObject({ seq: 2, remotes: ['address of b', 'address of a'] });
    expect(lease?.boot).toBe('a');
  });

  it('never wait longer than twelve times the first wait', async () => {
    for (const boot of ['a', 'b', 'a', 'b', 'a', 'b', 'a', 'b', 'a', 'b']) await come(boot);
    expect(await damp('a')).toBeLessThanOrEqual(12_000);
  });

  it('keep the events of the tenure without a gap', async () => {
    await come('a');
    const { epoch } = await come('b');
    await damp('a');
    await f.store.leases.release('alice', epoch, 'c1', 'connection_broken');
    const of = (await f.events()).map(({ id }) => id.split(':')).filter((parts) => parts[2] === String(epoch));
    expect(of.map((parts) => Number(parts[3]))).toEqual([0, 1, 2, 3]);
  });
});

describe('what is not flapping', () => {
  it('is an agent that crashes again and again: each start has a new boot', async () => {
    for (const boot of ['a', 'b', 'c', 'd', 'e']) {
      expect(await damp(boot)).toBe(0);
      await come(boot);
    }
    expect(await flapping()).toEqual([]);
  });

  it('is an agent that moves, and one that names no boot', async () => {
    await come('a');
    expect(await damp('a')).toBe(0);
    await come('a');
    await come('');
    expect(await damp('')).toBe(0);
  });

  it('is a return after the other one said goodbye', async () => {
    await come('a');
    const { epoch } = await come('b');
    await f.store.leases.release('alice', epoch, 'c1', 'bye');
    expect(await damp('a')).toBe(0);
  });

  it('is a return long after: the window is over', async () => {
    await come('a');
    await come('b');
    const past = Date.now() - 60_000;
    await f.redis.hset(
      keys.lease('alice'),
      'boots',
      JSON.stringify([
        { boot: 'a', remote: '', at: past - 9 },
        { boot: 'b', remote: '', at: past - 1 },
      ]),
    );
    expect(await damp('a')).toBe(0);
    expect(await flapping()).toEqual([]);
  });
});
