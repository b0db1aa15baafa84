import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type PortSplit, splitPorts } from '../src/port-split.ts';

const ids = (count: number): string[] => Array.from({ length: count }, (_, index) => `tcp-listener-${index + 1}`);

describe('the split of public ports among listeners', () => {
  it('gives one listener all of them', () => {
    expect(splitPorts([20_000, 20_999], ids(1), undefined).split.listeners).toEqual({ 'tcp-listener-1': [20_000, 20_999] });
  });

  it('is even at first', () => {
    expect(splitPorts([20_000, 20_999], ids(3), undefined).split.listeners).toEqual({
      'tcp-listener-1': [20_000, 20_332],
      'tcp-listener-2': [20_333, 20_665],
      'tcp-listener-3': [20_666, 20_999],
    });
  });

  it('stays as it was when nothing has changed', () => {
    const { split } = splitPorts([20_000, 20_999], ids(3), undefined);
    expect(splitPorts([20_000, 20_999], ids(3), split)).toEqual({ split, notices: [] });
  });

  it('takes for a new listener the upper half of the largest share, and says so', () => {
    const { split } = splitPorts([20_000, 20_999], ids(1), undefined);
    const grown = splitPorts([20_000, 20_999], ids(2), split);
    expect(grown.split.listeners).toEqual({ 'tcp-listener-1': [20_000, 20_499], 'tcp-listener-2': [20_500, 20_999] });
    expect(grown.notices).toEqual([expect.stringContaining('tcp-listener-2 takes public ports 20500-20999')]);
  });

  it('keeps the share of a listener that is gone, for its return', () => {
    const { split } = splitPorts([20_000, 20_999], ids(2), undefined);
    const shrunk = splitPorts([20_000, 20_999], ids(1), split);
    expect(shrunk.notices).toEqual([expect.stringContaining('20500-20999 stay with tcp-listener-2')]);
    expect(splitPorts([20_000, 20_999], ids(2), shrunk.split)).toEqual({ split, notices: [] });
  });

  it('starts afresh with another range, and says so', () => {
    const { split } = splitPorts([20_000, 20_999], ids(1), undefined);
    const moved = splitPorts([30_000, 30_999], ids(1), split);
    expect(moved.split.listeners).toEqual({ 'tcp-listener-1': [30_000, 30_999] });
    expect(moved.notices).toHaveLength(1);
  });

  it('covers the range without a gap or an overlap, however the number of listeners changes', () => {
    const counts = fc.array(fc.integer({ min: 1, max: 16 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(fc.integer({ min: 16, max: 2_000 }), counts, (size, sequence) => {
        const range = [20_000, 20_000 + size - 1] as const;
        let split: PortSplit | undefined;
        for (const count of sequence) ({ split } = splitPorts(range, ids(count), split));
        const shares = Object.values(split?.listeners ?? {}).sort(([a], [b]) => a - b);
        let next: number = range[0];
        for (const [first, last] of shares) {
          expect(first).toBe(next);
          expect(last).toBeGreaterThanOrEqual(first);
          next = last + 1;
        }
        expect(next).toBe(range[1] + 1);
        expect(Object.keys(split?.listeners ?? {})).toEqual(expect.arrayContaining(ids(sequence.at(-1) ?? 0)));
      }),
      { numRuns: 200 },
    );
  });
});
