import type { EVENT_TYPES } from '@culvert/contracts';
import Type from 'typebox';
import { EndpointSchema, Epoch, Millis, Text } from './schema.ts';

const base = {
  epoch: Epoch,
  seq: Type.Integer({ minimum: 0 }),
  reason: Text,
};
const endpoints = Type.Array(EndpointSchema);
const Bytes = Type.Integer({ minimum: 0 });

const conn = {
  epoch: Epoch,
  /** Of one listener's start: order conn.* of a device by (time), they are at most once. */
  seq: Type.Integer({ minimum: 0 }),
  conn: Text,
  listener: Text,
  port: Type.Integer(),
  public_port: Type.Integer(),
  /** address:port of the visitor, or `edge:<id>` behind the edge. */
  visitor: Text,
};

/** The `data` of every event type. Fields may be added; none is removed or changes its meaning. */
export const EVENT_DATA = {
  'device.connected': Type.Object({
    ...base,
    ingress: Text,
    remote: Text,
    boot: Text,
    endpoints,
    listener: Text,
    /** Present when reason is `moved` or `taken_over`. */
    previous_epoch: Type.Optional(Epoch),
  }),
  'device.disconnected': Type.Object({ ...base, ingress: Text }),
  'device.refused': Type.Object({ ...base, code: Text, remote: Text }),
  'device.flapping': Type.Object({ ...base, remotes: Type.Array(Text) }),
  /** Reason: `alert` or `cap`, the threshold of its policy that was reached. Once for each on a UTC day. */
  'device.budget': Type.Object({ ...base, day: Text, bytes: Bytes, limit: Bytes }),
  'lease.granted': Type.Object({ ...base, endpoints, listener: Text }),
  'lease.resumed': Type.Object({ ...base, endpoints, listener: Text }),
  'lease.grace': Type.Object({ ...base, due: Millis, listener: Text }),
  'lease.expired': Type.Object({ ...base, endpoints, listener: Text }),
  /** Reason `renamed`: an endpoint has another host name, the listener is the same. */
  'lease.moved': Type.Object({ ...base, endpoints, listener: Text, previous_listener: Text }),
  'conn.opened': Type.Object({ ...conn }),
  'conn.closed': Type.Object({
    ...conn,
    outcome: Text,
    to_device: Bytes,
    to_visitor: Bytes,
    wait_ms: Millis,
    duration_ms: Millis,
  }),
  'conn.failed': Type.Object({ ...conn, outcome: Text, wait_ms: Millis }),
  'ports.exhausted': Type.Object({ ...base, listener: Text, device: Text }),
  'instance.gone': Type.Object({ ...base, instance: Text, service: Text }),
  /**
   * `data_lost`: the store was rebuilt from the living; the last events before it may be missing. `writes_lost`: the last writes
   * before a failover are lost, and what their events said may not hold any more.
   */
  'store.recovered': Type.Object({
    ...base,
    incarnation: Text,
    /** Of the store that was lost. */
    previous: Text,
    /** Leases that were restored. */
    leases: Type.Integer({ minimum: 0 }),
  }),
} as const satisfies Record<(typeof EVENT_TYPES)[number], Type.TObject>;

export type EventName = keyof typeof EVENT_DATA;
export type EventData<N extends EventName> = Type.Static<(typeof EVENT_DATA)[N]>;

/** A CloudEvents 1.0 message in structured JSON. */
export interface CulvertEvent<N extends EventName = EventName> {
  specversion: '1.0';
  /** `<store incarnation>:<device>:<epoch>:<seq>`; the same string is the Nats-Msg-Id. */
  id: string;
  source: string;
  type: N;
  /** The device's name, the instance's id, or the store's incarnation. */
  subject: string;
  /** RFC 3339, UTC. For people: order by (epoch, seq), never by time. */
  time: string;
  datacontenttype: 'application/json';
  data: EventData<N>;
}

/** Any event, told apart by `type`. */
export type AnyEvent = { [N in EventName]: CulvertEvent<N> }[EventName];
