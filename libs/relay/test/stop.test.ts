import { expect, it, vi } from 'vitest';
import { Stopper, type StopSignal } from '../src/index.ts';

it.each([
  ['a Stopper', () => new Stopper(), (stopper: Stopper | AbortController): StopSignal => stopper as Stopper],
  [
    'an AbortController',
    () => new AbortController(),
    (stopper: Stopper | AbortController) => (stopper as AbortController).signal,
  ],
])('%s tells its listeners once, of the first reason, and those who left not at all', (_name, make, signalOf) => {
  const stopper = make();
  const signal = signalOf(stopper);
  const [stays, leaves] = [vi.fn(), vi.fn()];
  signal.addEventListener('abort', stays, { once: true });
  signal.addEventListener('abort', leaves, { once: true });
  signal.removeEventListener('abort', leaves);
  expect([signal.aborted, signal.reason]).toEqual([false, undefined]);
  signal.throwIfAborted();
  stopper.abort('first');
  stopper.abort('second');
  expect(stays).toHaveBeenCalledOnce();
  expect(leaves).not.toHaveBeenCalled();
  expect([signal.aborted, signal.reason]).toEqual([true, 'first']);
  expect(() => signal.throwIfAborted()).toThrow('first');
});
