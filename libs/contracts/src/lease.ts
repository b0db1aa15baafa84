import type { Endpoint } from './protocol.ts';

/**
 * The life of a lease:
 *
 *   pending --confirm--> held --lost--> reconnecting --5 s--> grace --due--> (gone)
 *                         |  \--bye, closed---------------------^
 *                         ^-----acquire (new epoch)-----/ from reconnecting and grace
 *
 * `pending` exists inside the store only: a tenure that is granted but not confirmed.
 */
export const LEASE_STATES = ['held', 'reconnecting', 'grace'] as const;
export type LeaseState = (typeof LEASE_STATES)[number];

/** A lease as services and operators see it. Times are milliseconds since 1970 by the store's clock. */
export interface Lease {
  device: string;
  state: LeaseState;
  /** Fencing token of the tenure; never goes down. */
  epoch: number;
  /** Counts changes within the epoch; `bind` is ordered by (epoch, rev). */
  rev: number;
  /** Since when the lease is in this state. */
  since: number;
  /** When the state runs out; null while held. */
  due: number | null;
  /** The ws-ingress instance that holds, or last held, the control connection. */
  ingress: string;
  /** Id of that control connection within the ingress. */
  control: string;
  /** The tcp-listener instance that has the public ports. */
  listener: string;
  endpoints: Endpoint[];
  /** Random id of the agent's start; empty when the device sent none. */
  boot: string;
  /** The device's address as the edge saw it. */
  remote: string;
  warm: number;
  transfers: number;
  max_frame: number;
}

/** What the edge reads about one host name (a Redis hash, all values text). */
export interface Route {
  device: string;
  /** host:port of the listener where the edge connects; IPv6 in brackets. */
  address: string;
  scheme: 'http' | 'https';
  state: LeaseState;
  /** Milliseconds since 1970. */
  since: string;
  epoch: string;
  /** '1' when the edge may keep idle connections to the device. */
  keepalive: string;
  /** The device's own number of the endpoint. */
  port: string;
}

/** After the whole system or the store was away no lease in grace ends sooner than this, in ms; or GRACE_MS when that is less. */
export const LOST_FLOOR_MS = 120_000;
