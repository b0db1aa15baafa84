import { afterAll, beforeAll, expect, it } from 'vitest';
import { digest, type StoreFixture, startStore, tenure } from './fixture.ts';

const WIDTH = 2_000;
const HELD = 1_900;
const ROUNDS = 50;
const RANGE = [30_000, 30_000 + WIDTH - 1] as const;

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore();
});
afterAll(() => f.stop());

async function begin(device: string): Promise<number> {
  const begun = await f.store.leases.begin(device, tenure(device), { expectedEpoch: 0, mayBeHeld: false });
  if (begun.verdict !== 'ok') throw new Error(begun.verdict);
  return begun.epoch;
}

/** What one port costs: commands that Redis ran, those within scripts included, and its time in microseconds. */
async function costOf(listener: string): Promise<{ commands: number; usec: number }> {
  await f.redis.config('RESETSTAT');
  for (let round = 0; round < ROUNDS; round += 1) {
    const epoch = await begin('alice');
    const reserved = await f.store.ports.reserve({ device: 'alice', epoch, listener, range: RANGE, count: 1, unusable: [] });
    expect(reserved.verdict).toBe('ok');
    await f.store.leases.abandon('alice', epoch);
  }
  const stats = await f.redis.info('commandstats');
  let commands = 0;
  let usec = 0;
  for (const [, name, calls, time] of stats.matchAll(/^cmdstat_([a-z|]+):calls=([0-9]+),usec=([0-9]+)/gm)) {
    if (name?.startsWith('config')) continue;
    commands += Number(calls);
    if (name === 'evalsha') usec += Number(time);
  }
  return { commands, usec: Math.round(usec / ROUNDS) };
}

it('a pool of which 95 % are held gives a port in as many steps as an empty one', async () => {
  for (const device of ['alice', 'hog']) await f.store.devices.add(device, digest(device));
  for (const listener of ['empty', 'full']) await f.store.ports.register(listener, RANGE);
  const epoch = await begin('hog');
  const held = await f.store.ports.reserve({ device: 'hog', epoch, listener: 'full', range: RANGE, count: HELD, unusable: [] });
  expect(held.verdict).toBe('ok');
  await costOf('empty'); // scripts are loaded
  const empty = await costOf('empty');
  const full = await costOf('full');
  console.log(
    `a port of an empty pool of ${WIDTH}: ${empty.usec} us; with ${HELD} held: ${full.usec} us, begin and abandon included`,
  );
  expect(full.commands).toBe(empty.commands);
});
