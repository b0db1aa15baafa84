import type { Bus } from '@culvert/bus';
import { createLogger } from '@culvert/service-kit';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Reconciler } from '../src/reconcile.ts';

const MINUTE = 60_000;
const lease = {
  ...{
    device: 'alice',
    epoch: 7,
    rev: 0,
    state: 'held',
    since: 0,
    ingress: 'ws-ingress-1',
    warm: 0,
    transfers: 1,
    max_frame: 65_536,
  },
  endpoints: [],
};

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A listener that has all its leases right, and how often it has asked for them. */
async function listener(leases: number): Promise<{ tenures: { commands: number }; asked: () => number; stop: () => void }> {
  let asked = 0;
  const request = async (): Promise<unknown> => {
    asked += 1;
    return {
      ok: true,
      store: 'a',
      cursor: null,
      leases: Array.from({ length: leases }, (_, n) => ({ lease: { ...lease, device: `d${n}` }, token_digests: [] })),
    };
  };
  const tenures = {
    commands: 0,
    now: () => 0,
    boundBefore: () => [],
    bindUnlessChanged: async () => ({ ok: true as const, ports: [] }),
    unbind: async () => {},
  };
  const reassertion = { heardBy: 'a', run: async () => {} };
  const bus = { request } as unknown as Pick<Bus, 'request'>;
  const reconciler = new Reconciler('tcp-listener-1', bus, tenures, reassertion, createLogger('test', 'test', 'silent'));
  await reconciler.run();
  return { tenures, asked: () => asked, stop: () => reconciler.stop() };
}

it('asks for nothing while no command has come, but twice an hour', async () => {
  const { asked, stop } = await listener(1);
  await vi.advanceTimersByTimeAsync(29 * MINUTE);
  expect(asked()).toBe(1);
  await vi.advanceTimersByTimeAsync(2 * MINUTE);
  expect(asked()).toBe(2);
  stop();
});

it('compares within a minute of a command, and once more only after the next one', async () => {
  const { tenures, asked, stop } = await listener(1);
  tenures.commands += 1;
  await vi.advanceTimersByTimeAsync(MINUTE);
  expect(asked()).toBe(2);
  await vi.advanceTimersByTimeAsync(5 * MINUTE);
  expect(asked()).toBe(2);
  stop();
});

it('takes its time with many leases: a thousand a minute', async () => {
  const { tenures, asked, stop } = await listener(10_000);
  const busy = setInterval(() => {
    tenures.commands += 1;
  }, 1_000);
  await vi.advanceTimersByTimeAsync(9 * MINUTE);
  expect(asked()).toBe(1);
  await vi.advanceTimersByTimeAsync(2 * MINUTE);
  expect(asked()).toBe(2);
  clearInterval(busy);
  stop();
});
