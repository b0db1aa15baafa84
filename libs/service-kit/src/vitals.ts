import type { BusObserver } from '@culvert/bus';
import type { Redis } from 'ioredis';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Health } from './health.ts';

const COMMAND_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Counts the commands that this process asks and serves, by command and outcome: `ok` or the code of the refusal. */
export function observeCommands(registry: Registry): BusObserver {
  const registers = [registry];
  const labelNames = ['command', 'outcome'] as const;
  const asked = new Counter({ name: 'culvert_commands_asked_total', help: 'Commands sent, by outcome', labelNames, registers });
  const served = new Counter({
    name: 'culvert_commands_served_total',
    help: 'Commands served, by outcome',
    labelNames,
    registers,
  });
  const seconds = (name: string, help: string): Histogram<'command'> =>
    new Histogram({ name, help, labelNames: ['command'], buckets: COMMAND_BUCKETS, registers });
  const askedSeconds = seconds('culvert_command_asked_seconds', 'From sending a command to its reply, refusals included');
  const servedSeconds = seconds('culvert_command_served_seconds', 'From a command to our reply, refusals included');
  return {
    asked: (command, outcome, ms) => {
      asked.inc({ command, outcome });
      askedSeconds.observe({ command }, ms / 1000);
    },
    served: (command, outcome, ms) => {
      served.inc({ command, outcome });
      servedSeconds.observe({ command }, ms / 1000);
    },
  };
}

/** What an instance depends on, whether it may be used, and how far its clock is from the store's. Read when somebody asks. */
export function watchVitals(health: Health, redis: Redis, bus: { readonly connected: boolean }): void {
  const registers = [health.registry];
  new Gauge({
    name: 'culvert_ready',
    help: '1 while /readyz says ready',
    registers,
    collect() {
      this.set(Object.keys(health.faults()).length === 0 ? 1 : 0);
    },
  });
  new Gauge({
    name: 'culvert_dependency_up',
    help: '1 while the dependency (redis, nats) is connected',
    labelNames: ['dependency'],
    registers,
    collect() {
      this.set({ dependency: 'redis' }, redis.status === 'ready' ? 1 : 0);
      this.set({ dependency: 'nats' }, bus.connected ? 1 : 0);
    },
  });
  const roundTrip = new Gauge({
    name: 'culvert_store_round_trip_seconds',
    help: 'Of one command to Redis, measured now; NaN while it does not answer',
    registers,
  });
  new Gauge({
    name: 'culvert_clock_difference_seconds',
    help: 'This machine’s clock minus that of Redis, which epochs and due times come from; NaN while it does not answer',
    registers,
    async collect() {
      const sentAt = Date.now();
      const startedAt = performance.now();
      try {
        const [seconds, micros] = await redis.time();
        const tookMs = performance.now() - startedAt;
        roundTrip.set(tookMs / 1000);
        this.set((sentAt + tookMs / 2) / 1000 - (Number(seconds) + Number(micros) / 1e6));
      } catch {
        roundTrip.set(Number.NaN);
        this.set(Number.NaN);
      }
    },
  });
}

/** How full bounded things of this process are: 0 empty, 1 full, and what comes then is refused, dropped or made to wait. */
export function watchFill(registry: Registry, resources: Readonly<Record<string, () => number>>): void {
  new Gauge({
    name: 'culvert_fill_ratio',
    help: 'How full a bounded resource is, from 0 to 1',
    labelNames: ['resource'],
    registers: [registry],
    collect() {
      for (const [resource, read] of Object.entries(resources)) this.set({ resource }, read());
    },
  });
}
