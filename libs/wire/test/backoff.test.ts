import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BACKOFF, type Ending, initialBackoff, nextAttempt } from '../src/index.ts';

const ending: fc.Arbitrary<Ending> = fc.oneof(
  fc.constant<Ending>({ kind: 'failed' }),
  fc.record({ kind: fc.constant('lost' as const), livedMs: fc.nat(200_000) }),
  fc.record({
    kind: fc.constant('refused' as const),
    code: fc.constantFrom('name_in_use' as const, 'unauthorized' as const, 'unavailable' as const, 'bad_request' as const),
    retryAfterMs: fc.option(fc.nat(1_000_000), { nil: undefined }),
  }),
);

describe('the pace of reconnection', () => {
  it('stays within its bounds whatever happens', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(ending, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }))),
        fc.integer({ min: 1, max: 5 }),
        (steps, servers) => {
          let state = initialBackoff();
          for (const [how, random] of steps) {
            const next = nextAttempt(state, how, servers, random);
            state = next.state;
            expect(next.waitMs).toBeLessThanOrEqual(BACKOFF.capMs);
            expect(next.server).toBeLessThan(servers);
            if (how.kind === 'refused' && how.code === 'unauthorized') expect(next.waitMs).toBeGreaterThanOrEqual(45_000);
            else if (how.kind === 'refused' && how.code === 'unavailable' && how.retryAfterMs !== undefined) {
              expect(next.waitMs).toBeLessThanOrEqual(BACKOFF.retryAfterCapMs);
              expect(next.waitMs).toBeGreaterThanOrEqual(Math.min(how.retryAfterMs, BACKOFF.retryAfterCapMs));
            } else expect(next.waitMs).toBeGreaterThanOrEqual(BACKOFF.baseMs);
          }
        },
      ),
    );
  });
});
