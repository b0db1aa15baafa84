import { afterEach, describe, expect, it } from 'vitest';
import { Stack, until } from './stack.ts';

let stack: Stack;
afterEach(() => stack.stop());

const start = async (): Promise<void> => {
  stack = await Stack.start({ GRACE_MS: 60_000, SWEEP_MS: 50, COMMAND_MS: 1_000, ACQUIRE_MS: 1_400, PROBE_MS: 500 }, 1_500);
  await stack.listener('tcp-listener-1', [30_000, 30_999]);
  await stack.ingress('ws-ingress-1');
  await stack.service('port-allocator');
};

/** Every event once, in the order in which the store wrote them: per device by (epoch, seq), without a hole. */
const isWhole = (events: Awaited<ReturnType<Stack['events']>>): boolean => {
  const last = new Map<string, { epoch: number; seq: number }>();
  for (const { subject, data } of events) {
    const before = last.get(subject);
    const follows = before === undefined || data.epoch > before.epoch ? data.seq === 0 : data.seq === before.seq + 1;
    if (!follows) return false;
    last.set(subject, data);
  }
  return new Set(events.map(({ id }) => id)).size === events.length;
};

describe('the relay', () => {
  it('loses and doubles nothing while managers are killed, paused and restarted', async () => {
    await start();
    const first = await stack.service('lease-manager', 1);
    await stack.service('lease-manager', 2);
    for (let i = 0; i < 20; i++) await stack.addDevice(`d${i}`);
    const visit = async (i: number): Promise<void> => {
      await until(async () => {
        const grant = await stack.acquire(`d${i}`).catch(() => undefined);
        if (!grant?.ok) return false;
        const released = { device: `d${i}`, epoch: grant.epoch, control: 'c1', reason: 'bye' };
        await until(async () => {
          const reply = await stack.bus.request('lease.release', released).catch(() => undefined);
          return reply !== undefined && (reply.ok || reply.code === 'lease_lost'); // the reply to an earlier try came too late
        });
        return true;
      });
    };
    await Promise.all(Array.from({ length: 10 }, (_, i) => visit(i)));
    await first.kill();
    await Promise.all(Array.from({ length: 10 }, (_, i) => visit(10 + i)));
    const third = await stack.service('lease-manager', 3);
    await until(async () => (await stack.redis.xlen('outbox')) === 0);
    if (third.pid !== undefined) process.kill(third.pid, 'SIGSTOP');
    await Promise.all(Array.from({ length: 8 }, (_, i) => visit(i)));
    if (third.pid !== undefined) process.kill(third.pid, 'SIGCONT');
    await until(async () => (await stack.redis.xlen('outbox')) === 0);
    const events = await stack.events();
    expect(isWhole(events)).toBe(true);
    const grants = events.filter(({ type }) => type === 'lease.granted');
    expect(grants.map(({ subject }) => subject).sort()).toEqual(Array.from({ length: 20 }, (_, i) => `d${i}`).sort());
  }, 60_000);

  it('delivers after NATS and Redis were killed what was written before', async () => {
    await start();
    await stack.service('lease-manager', 1);
    await stack.addDevice('alice');
    await stack.granted('alice', { boot: 'a' });
    await stack.eventsOf('alice', 2);
    await stack.redis.xadd(
      'outbox',
      '*',
      ...['id', `${await stack.redis.get('store:incarnation')}:x:1:0`, 'type', 'lease.moved'],
      ...['device', 'x', 'time', '1', 'data', '{"epoch":1,"seq":0,"reason":"test"}'],
    );
    // While the disk is busy Redis puts its writes off: what it loses so is the store's loss, and another test's matter.
    await until(async () => /^aof_buffer_length:0\r$/m.test(await stack.redis.info('persistence')));
    await stack.natsServer.kill();
    await stack.redisServer.kill();
    await Promise.all([stack.natsServer.start(), stack.redisServer.start()]);
    await until(() => stack.bus.connected && stack.redis.status === 'ready');
    await until(
      async () => (await stack.acquire('alice', { boot: 'a', control: 'c2' }).catch(() => undefined))?.ok === true,
      30_000,
    );
    await until(async () => (await stack.redis.xlen('outbox')) === 0);
    const events = await stack.events();
    expect(isWhole(events)).toBe(true);
    expect(events.map(({ type }) => type)).toContain('lease.moved');
    expect(events.at(-1)).toMatchObject({ type: 'device.connected', data: { reason: 'moved' } });
  }, 60_000);

  it('brings a backlog of thousands in order, though others publish in between', async () => {
    await start();
    await stack.service('lease-manager', 1);
    const incarnation = await stack.redis.get('store:incarnation');
    const written = stack.redis.pipeline();
    const count = 3_000;
    for (let seq = 0; seq < count; seq += 1) {
      const data = JSON.stringify({ epoch: 1, seq, reason: 'test' });
      const fields = ['id', `${incarnation}:x:1:${seq}`, 'type', 'lease.moved', 'device', 'x', 'time', '1', 'data', data];
      written.xadd('outbox', '*', ...fields);
    }
    await written.exec();
    let strangers = 0;
    await until(async () => {
      if (++strangers < 6) stack.bus.nc.publish('lease.moved.stranger', '{}');
      return (await stack.redis.xlen('outbox')) === 0;
    }, 30_000);
    const events = (await stack.events()).filter(({ subject }) => subject === 'x');
    expect(events.map(({ data }) => data.seq)).toEqual(Array.from({ length: count }, (_, seq) => seq));
  }, 60_000);

  it('goes on when the stream has been emptied behind its back', async () => {
    await start();
    await stack.service('lease-manager', 1);
    await stack.addDevice('alice');
    await stack.granted('alice');
    await stack.eventsOf('alice', 2);
    await stack.bus.nc.request('$JS.API.STREAM.PURGE.CULVERT_EVENTS');
    await stack.granted('alice', { ingress: 'ws-ingress-gone' }).catch(() => undefined);
    await stack.addDevice('bob');
    await stack.granted('bob');
    expect(await stack.eventsOf('bob', 2)).toEqual(['lease.granted connected', 'device.connected connected']);
  }, 30_000);
});
