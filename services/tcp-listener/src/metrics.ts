import { bulkBytes, bulkRests } from '@culvert/relay';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

export interface ListenerMetrics {
  visitors: Counter<'outcome'>;
  bytes: Counter<'direction'>;
  dialSeconds: Histogram;
  visitorSeconds: Histogram;
  /** Stage: line, warm, dial or splice. */
  stageSeconds: Histogram<'stage'>;
  /** Way: direct (at the published port) or edge. */
  handshakes: Counter<'outcome' | 'way'>;
  warmOffers: Counter<'outcome'>;
  canaries: Counter<'outcome'>;
  droppedEvents: Counter;
}

/** What is read when somebody asks. */
export interface ListenerGauges {
  /** Called before anything is read. */
  before(): void;
  visitors(): number;
  waiting(): number;
  ports(): number;
  tickets(): number;
  accessTickets(): number;
  handshakes(): number;
  transfers(): number;
  buffered(): number;
  connEvents(): number;
  warm(): number;
}

const LONG_BUCKETS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1_800];

export function createMetrics(registry: Registry, gauges: ListenerGauges): ListenerMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('culvert_visitors_open', 'Visitors that are served, waiting ones included', () => {
    gauges.before(); // metrics are read in the order of their registration
    return gauges.visitors();
  });
  gauge('culvert_visitors_waiting', 'Visitors without a transfer yet', gauges.waiting);
  gauge('culvert_transfers_open', 'Transfer connections, closing ones included', gauges.transfers);
  gauge('culvert_transfer_buffered_bytes', 'Bytes that wait for a slow peer of a transfer, both directions', gauges.buffered);
  gauge('culvert_conn_events_waiting', 'conn.* events that wait for NATS', gauges.connEvents);
  gauge('culvert_warm_transfers_waiting', 'Warm transfers that wait for a visitor', gauges.warm);
  gauge('culvert_public_ports_open', 'Public ports that are bound', gauges.ports);
  gauge('culvert_dials_pending', 'Ids of dials that a transfer may still use', gauges.tickets);
  gauge('culvert_access_tickets', 'Tickets of operators that are not used yet', gauges.accessTickets);
  gauge('culvert_handshakes_pending', 'Handshakes of transfers under way', gauges.handshakes);
  const counter = (name: string, help: string, read: () => number): void => {
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  };
  counter('culvert_bulk_bytes_total', 'Payload bytes that the bulk thread moved', () => bulkBytes().moved);
  const unread = 'Payload bytes that went from one socket to the other within the kernel, without being read';
  counter('culvert_kernel_bytes_total', unread, () => bulkBytes().unread);
  counter('culvert_bulk_rests_total', 'Times that bulk waited for an edge that was behind', () => bulkRests());
  return {
    visitors: new Counter({
      name: 'culvert_visitors_total',
      help: 'Visitors that ended, by outcome',
      labelNames: ['outcome'],
      registers,
    }),
    bytes: new Counter({
      name: 'culvert_transferred_bytes_total',
      help: 'Payload bytes of transfers that ended, by direction: to_device, to_visitor',
      labelNames: ['direction'],
      registers,
    }),
    dialSeconds: new Histogram({
      name: 'culvert_dial_seconds',
      help: 'From accepting a visitor to its transfer',
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    visitorSeconds: new Histogram({
      name: 'culvert_visitor_seconds',
      help: 'From accepting a visitor to its end',
      buckets: LONG_BUCKETS,
      registers,
    }),
    stageSeconds: new Histogram({
      name: 'culvert_visitor_stage_seconds',
      help: 'Stages of visitors: line (waiting for a turn), warm (offered to warm transfers), dial (asking the device), splice',
      labelNames: ['stage'],
      buckets: LONG_BUCKETS,
      registers,
    }),
    handshakes: new Counter({
      name: 'culvert_transfer_handshakes_total',
      help: 'Handshakes of transfers; outcome is ok, gone, or the code of the refusal; way is direct (at the published port) or edge',
      labelNames: ['outcome', 'way'],
      registers,
    }),
    warmOffers: new Counter({
      name: 'culvert_warm_offers_total',
      help: 'Visitors offered to a warm transfer; outcome is accepted, visitor_gone, or the code of why it was not taken',
      labelNames: ['outcome'],
      registers,
    }),
    canaries: new Counter({
      name: 'culvert_canaries_total',
      help: 'Canary transfers; outcome is alive, refused, away, silent (the device says nothing at all), dead (its control connection was ended) or damped (dead, and ended too lately)',
      labelNames: ['outcome'],
      registers,
    }),
    droppedEvents: new Counter({
      name: 'culvert_conn_events_dropped_total',
      help: 'conn.* events that found no room while NATS was away',
      registers,
    }),
  };
}
