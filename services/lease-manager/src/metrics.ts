import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export interface ManagerMetrics {
  /** Outcome: the reason of the connection, or the code of the refusal. */
  acquires: Counter<'outcome'>;
  acquireSeconds: Histogram;
  /** Transition: grace, expired, extended, abandoned or ingress_gone. */
  swept: Counter<'transition'>;
  unusablePorts: Counter<'listener'>;
  relayed: Counter;
  relayActive: Gauge;
  /** From the change in the store to the stream. */
  eventLagSeconds: Histogram;
}

export function createMetrics(
  registry: Registry,
  gauges: {
    outbox: () => Promise<number>;
    outboxOldestAt: () => Promise<number | undefined>;
    leases: () => Promise<{ held: number; away: number }>;
    telling: () => number;
  },
): ManagerMetrics {
  const registers = [registry];
  new Gauge({
    name: 'culvert_outbox_entries',
    help: 'Events that wait for their relay to NATS',
    registers,
    async collect() {
      this.set(await gauges.outbox().catch(() => Number.NaN));
    },
  });
  new Gauge({
    name: 'culvert_outbox_oldest_seconds',
    help: 'Age of the oldest event that waits for its relay; 0 when none waits',
    registers,
    async collect() {
      const at = await gauges.outboxOldestAt().catch(() => Number.NaN);
      this.set(at === undefined ? 0 : Math.max(0, Date.now() - at) / 1000);
    },
  });
  new Gauge({
    name: 'culvert_leases',
    help: 'Leases in the store by state: held, or away (reconnecting or in grace); every lease-manager says the same',
    labelNames: ['state'],
    registers,
    async collect() {
      const counts = await gauges.leases().catch(() => ({ held: Number.NaN, away: Number.NaN }));
      this.set({ state: 'held' }, counts.held);
      this.set({ state: 'away' }, counts.away);
    },
  });
  new Gauge({
    name: 'culvert_listeners_untold',
    help: 'Leases whose listener has not acknowledged the newest state',
    registers,
    collect() {
      this.set(gauges.telling());
    },
  });
  return {
    acquires: new Counter({
      name: 'culvert_lease_acquires_total',
      help: 'Acquires; outcome is connected, resumed, moved, taken_over, or the code of the refusal',
      labelNames: ['outcome'],
      registers,
    }),
    acquireSeconds: new Histogram({
      name: 'culvert_lease_acquire_seconds',
      help: 'Time of an acquire, refused ones included',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8],
      registers,
    }),
    unusablePorts: new Counter({
      name: 'culvert_ports_unusable_total',
      help: 'Public ports that a listener could not open because another program holds them, by listener',
      labelNames: ['listener'],
      registers,
    }),
    swept: new Counter({
      name: 'culvert_lease_swept_total',
      help: 'Transitions that were due',
      labelNames: ['transition'],
      registers,
    }),
    relayed: new Counter({ name: 'culvert_events_relayed_total', help: 'Events written to the stream', registers }),
    eventLagSeconds: new Histogram({
      name: 'culvert_event_lag_seconds',
      help: 'From the change in the store to its event in the stream',
      buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300],
      registers,
    }),
    relayActive: new Gauge({ name: 'culvert_relay_active', help: '1 in the instance that relays the outbox', registers }),
  };
}
