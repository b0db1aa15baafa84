import { expect, it } from 'vitest';
import { MendPace } from '../src/index.ts';

it('mends at once, then after rests that double up to 64 times', () => {
  const pace = new MendPace(1_000);
  let now = 5;
  for (const rest of [1, 2, 4, 8, 16, 32, 64, 64]) {
    expect(pace.take(now)).toBe(true);
    now += rest * 1_000;
    expect(pace.take(now - 1)).toBe(false);
  }
});

it('begins anew when a transfer came about', () => {
  const pace = new MendPace(1_000);
  expect([pace.take(0), pace.take(1)]).toEqual([true, false]);
  pace.reset();
  expect([pace.take(2), pace.take(1_001), pace.take(1_002)]).toEqual([true, false, true]);
});
