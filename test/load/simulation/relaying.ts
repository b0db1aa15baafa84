import { Bus } from '@culvert/bus';
import { EVENTS_STREAM, type Limits } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import { createLogger } from '@culvert/service-kit';
import { jetstreamManager } from '@nats-io/jetstream';
import type { Redis } from 'ioredis';
import { Registry } from 'prom-client';
import type { ManagerDeps } from '../../../services/lease-manager/src/deps.ts';
import { createMetrics } from '../../../services/lease-manager/src/metrics.ts';
import { Relay } from '../../../services/lease-manager/src/relay.ts';
import { cpuSeconds } from '../../bench/figures.ts';
import { startNats } from '../../harness/servers.ts';

export interface Relayed {
  events: number;
  perSecond: number;
  /** Of NATS' CPU, and on its disk, for each. */
  natsMicros: number;
  bytes: number;
}

const LATE_MS = 600_000;
const log = createLogger('simulation', 'simulation', process.env.CULVERT_TEST_LOG ?? 'silent');

/** Lets the lease-manager's own relay empty the outbox into a real JetStream, and says how fast it was. */
export async function relayAll(store: LeaseStore, redis: Redis, limits: Limits): Promise<Relayed> {
  const server = await startNats();
  const bus = await Bus.connect({ url: server.url, name: 'simulation', service: 'simulation', log, commandMs: 10_000 });
  const reader = redis.duplicate({ enableAutoPipelining: false });
  const none = async (): Promise<number> => 0;
  const metrics = createMetrics(new Registry(), {
    ...{ outbox: none, outboxOldestAt: none, telling: () => 0, leases: async () => ({ held: 0, away: 0 }) },
  });
  // The relay uses no more of a lease-manager than this.
  const deps: Partial<ManagerDeps> = { store, bus, limits, log, metrics };
  const relay = new Relay(deps as ManagerDeps, reader);
  try {
    const events = await store.outbox.length();
    const cpu = cpuSeconds([server.pid ?? 0]);
    const startedAt = performance.now();
    relay.start();
    while ((await store.outbox.length()) > 0) {
      if (performance.now() - startedAt > LATE_MS) throw new Error(`the outbox is not empty after ${LATE_MS} ms`);
      await new Promise((done) => setTimeout(done, 20));
    }
    const seconds = (performance.now() - startedAt) / 1000;
    const { state } = await (await jetstreamManager(bus.nc)).streams.info(EVENTS_STREAM);
    return {
      ...{ events, perSecond: events / seconds, bytes: state.bytes / Math.max(1, state.messages) },
      natsMicros: ((cpuSeconds([server.pid ?? 0]) - cpu) * 1e6) / events,
    };
  } finally {
    await relay.stop();
    await bus.nc.close();
    await server.stop();
  }
}
