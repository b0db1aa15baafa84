import type { Registry } from 'prom-client';
import { Counter, Gauge, Histogram } from 'prom-client';

export interface IngressMetrics {
  handshakes: Counter<'outcome'>;
  handshakeSeconds: Histogram;
  /** From `cmd.ingress.<id>.dial` to the message at the device's socket. */
  dialSeconds: Histogram;
  enrolments: Counter<'outcome'>;
  dials: Counter<'outcome'>;
  heartbeatLosses: Counter;
  inline: Counter<'outcome'>;
}

/** What is read when somebody asks. */
export interface IngressGauges {
  connections(): number;
  sockets(): number;
  handshakes(): number;
  releases(): number;
  acquires(): number;
  waiting(): number;
  inline(): number;
  buffered(): number;
}

export function createMetrics(registry: Registry, gauges: IngressGauges): IngressMetrics {
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
  gauge('culvert_control_connections', 'Control connections that hold a lease', gauges.connections);
  gauge('culvert_control_sockets', 'WebSockets of control connections, closing ones included', gauges.sockets);
  gauge('culvert_handshakes_pending', 'Handshakes under way', gauges.handshakes);
  gauge('culvert_releases_waiting', 'Ended tenures that the lease-manager has not heard of yet', gauges.releases);
  gauge('culvert_acquires_running', 'Leases being acquired', gauges.acquires);
  gauge('culvert_acquires_waiting', 'Handshakes that wait for their turn to acquire', gauges.waiting);
  gauge('culvert_control_buffered_bytes', 'Bytes that wait for devices to read them', gauges.buffered);
  gauge('culvert_inline_transfers', 'Inline transfers open', gauges.inline);
  return {
    inline: new Counter({
      name: 'culvert_inline_transfers_total',
      help: 'Inline transfers that are over; outcome is ok or why they ended',
      labelNames: ['outcome'],
      registers,
    }),
    handshakes: new Counter({
      name: 'culvert_control_handshakes_total',
      help: 'Handshakes of control connections; outcome is ok, gone, or the code of the refusal',
      labelNames: ['outcome'],
      registers,
    }),
    handshakeSeconds: new Histogram({
      name: 'culvert_control_handshake_seconds',
      help: 'From the head of a handshake to its 101 or its refusal',
      buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
      registers,
    }),
    dialSeconds: new Histogram({
      name: 'culvert_dial_handover_seconds',
      help: 'From a dial command to its message at the socket of the device, waiting for a device that is just arriving included',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5],
      registers,
    }),
    enrolments: new Counter({
      name: 'culvert_enrolments_total',
      help: 'Devices that asked to enrol; outcome is ok or the code of the refusal',
      labelNames: ['outcome'],
      registers,
    }),
    dials: new Counter({
      name: 'culvert_dials_total',
      help: 'Dials handed to devices; outcome is ok or the code of the refusal',
      labelNames: ['outcome'],
      registers,
    }),
    heartbeatLosses: new Counter({
      name: 'culvert_heartbeat_losses_total',
      help: 'Control connections called dead after 2.5 silent heartbeats',
      registers,
    }),
  };
}
