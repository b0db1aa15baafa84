import { afterEach, expect, it, vi } from 'vitest';
import { Later } from '../src/later.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('what is told later is told in order, all at once, and as of its own time', () => {
  vi.useFakeTimers({ now: 1_000 });
  const told: [string, number][] = [];
  const onTold = vi.fn();
  const later = new Later(onTold);
  later.add((at) => told.push(['first', at]));
  vi.advanceTimersByTime(20);
  later.add((at) => told.push(['second', at]));
  expect(told).toEqual([]);
  vi.advanceTimersByTime(30);
  expect(told).toEqual([
    ['first', 1_000],
    ['second', 1_020],
  ]);
  expect(onTold).toHaveBeenCalledOnce();
  later.flush();
  expect(onTold).toHaveBeenCalledOnce();
});

it('what is told later never grows beyond a thousand', () => {
  vi.useFakeTimers();
  let told = 0;
  const later = new Later(() => {});
  for (let i = 0; i < 1_500; i += 1)
    later.add(() => {
      told += 1;
    });
  expect(told).toBe(1_024);
  later.flush();
  expect(told).toBe(1_500);
});
