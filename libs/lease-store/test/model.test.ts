import fc from 'fast-check';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { type StoreFixture, startStore } from './fixture.ts';
import { World } from './model.ts';
import { ACTORS, DEVICES, type Step } from './steps.ts';

let f: StoreFixture;
beforeAll(async () => {
  f = await startStore();
});
afterAll(() => f.stop());

const actor = fc.constantFrom(...ACTORS);
const device = fc.constantFrom(...DEVICES);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      ...{ do: fc.constant('connect' as const), actor, device, boot: fc.constantFrom('', 'x', 'y') },
      ...{ count: fc.integer({ min: 1, max: 3 }), keep: fc.constantFrom(true, true, false) },
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...{ do: fc.constant('begin' as const), actor, device, boot: fc.constantFrom('', 'x', 'y') },
      mayBeHeld: fc.constantFrom(true, true, true, false),
      stale: fc.constantFrom(false, false, false, true),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      ...{ do: fc.constant('reserve' as const), actor, device, count: fc.integer({ min: 1, max: 4 }) },
      unusable: fc.constantFrom(false, false, true),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('confirm' as const), actor, device, keep: fc.constantFrom(true, true, false) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('abandon' as const), actor, device }) },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ do: fc.constant('release' as const), actor, device },
      age: fc.constantFrom(0, 0, 1, 2),
      reason: fc.constantFrom('bye' as const, 'heartbeat_lost' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      ...{ do: fc.constant('advance' as const), device },
      overdue: fc.constantFrom('nothing' as const, 'lease' as const, 'all' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('give up waiting' as const), device }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('revoke' as const), device }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clock back' as const), device }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cool down' as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('move' as const), device },
      until: fc.constantFrom('begun' as const, 'reserved' as const, 'moved' as const, 'moved' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      ...{ do: fc.constant('stand in' as const), device },
      until: fc.constantFrom('lent' as const, 'stale' as const, 'begun' as const, 'begun' as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stand down' as const), device }) },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('lose' as const), silent: fc.boolean(), listenersFirst: fc.boolean() }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('reassert' as const), actor, device, age: fc.constantFrom(0, 0, 1) }) },
);

describe('the store under random steps of two actors that crash anywhere', () => {
  it('agrees with a simple model in every lease, port, route and event', async () => {
    const numRuns = Number(process.env.CULVERT_TEST_RUNS ?? 100);
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60, size: 'max' }), async (steps) => {
        const world = new World(f);
        await world.start();
        for (const one of steps) {
          await world.run(one);
          await world.check();
        }
        await world.checkEvents();
      }),
      { numRuns, interruptAfterTimeLimit: numRuns * 500 },
    );
  }, 600_000);
});
