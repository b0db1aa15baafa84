import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Stack } from './stack.ts';

let stack: Stack;

beforeAll(async () => {
  stack = await Stack.start({ GRACE_MS: 60_000, SWEEP_MS: 50 });
  await stack.listener('tcp-listener-1', [30_000, 30_999]);
  await stack.ingress('ws-ingress-1');
  await stack.service('port-allocator');
  await stack.service('lease-manager');
});
afterAll(() => stack?.stop());

const batch = (): string => randomBytes(8).toString('hex');

async function report(device: string, bytes: number, name = batch()): Promise<string[]> {
  const entries = [{ device, to_device: bytes, to_visitor: 2 * bytes, control: 1 }];
  const reply = await stack.bus.request('usage.report', { instance: 'tcp-listener-1', batch: name, entries });
  if (!reply.ok) throw new Error(reply.message);
  expect(reply.until).toBeGreaterThan(Date.now());
  return reply.spent;
}

async function today(device: string) {
  const reply = await stack.bus.request('usage.get', { device, days: 2 });
  if (!reply.ok) throw new Error(reply.message);
  expect(reply.days).toHaveLength(2);
  expect(reply.days[1]).toMatchObject({ to_device: 0, to_visitor: 0, control: 0 });
  return reply.days[0];
}

it('what a device moves is summed up by day, and a batch that is told twice is counted once', async () => {
  const same = batch();
  await report('alice', 100, same);
  await report('alice', 100, same);
  await report('alice', 10);
  expect(await today('alice')).toEqual({
    day: new Date().toISOString().slice(0, 10),
    to_device: 110,
    to_visitor: 220,
    control: 2,
  });
});

it('each threshold of the policy is announced once a day, in the order of the device, and a reached cap is answered', async () => {
  await stack.addDevice('bob');
  const { epoch } = await stack.granted('bob');
  const value = { day_bytes_alert: 1_000, day_bytes_cap: 2_000 };
  expect((await stack.bus.request('record.put', { collection: 'policy', id: 'bob', value })).ok).toBe(true);
  expect(await report('bob', 300)).toEqual([]);
  expect(await report('bob', 100)).toEqual([]);
  expect(await report('bob', 400)).toEqual(['bob']);
  expect(await report('bob', 1)).toEqual(['bob']);
  await stack.eventsOf('bob', 4);
  const events = (await stack.events()).filter(({ type }) => type === 'device.budget');
  expect(events.map(({ data }) => data)).toEqual([
    { epoch, seq: 2, reason: 'alert', day: new Date().toISOString().slice(0, 10), bytes: 1_202, limit: 1_000 },
    { epoch, seq: 3, reason: 'cap', day: new Date().toISOString().slice(0, 10), bytes: 2_403, limit: 2_000 },
  ]);
});
