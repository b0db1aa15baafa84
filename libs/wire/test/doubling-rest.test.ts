import { expect, it } from 'vitest';
import { DoublingRest } from '../src/index.ts';

it('begins at once, then after rests that double up to 64 times', () => {
  const pause = new DoublingRest(1_000);
  let now = 5;
  for (const rest of [1, 2, 4, 8, 16, 32, 64, 64]) {
    expect([pause.over(now), pause.begin(now)]).toEqual([true, true]);
    now += rest * 1_000;
    expect([pause.over(now - 1), pause.begin(now - 1)]).toEqual([false, false]);
  }
});

it('begins anew after what worked', () => {
  const pause = new DoublingRest(1_000);
  expect([pause.begin(0), pause.begin(1)]).toEqual([true, false]);
  pause.reset();
  expect([pause.begin(2), pause.begin(1_001), pause.begin(1_002)]).toEqual([true, false, true]);
});
