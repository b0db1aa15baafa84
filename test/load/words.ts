/** What the parent of a load and its processes of devices and visitors say to each other. */

export interface CrowdPlan {
  kind: 'crowd';
  /** Index of the first device of this crowd, which its source addresses come from. */
  first: number;
  devices: { name: string; token: string; ports: '80' | 'tcp:9' }[];
  /** Where the control connections of each device go, one after the other; the edge alone when they come by it. */
  control: readonly number[];
  edge: number;
  /** Handshakes at once. */
  width: number;
}

/** The public side of one device. */
export interface Place {
  host?: string;
  port?: number;
}

export interface CrowdProgress {
  kind: 'progress';
  ready: number;
  /** Ready connections that ended, and attempts that were refused or failed, by why. */
  lost: number;
  refusals: Record<string, number>;
  dials: number;
  /** Of devices that became ready since the last report, in milliseconds from their first attempt. */
  readyMs: number[];
  /** Places that are new or have changed since the last report, by the index of the device in the whole fleet. */
  places: [number, Place][];
}

export interface VisitorsPlan {
  kind: 'visitors';
  edge: number;
}

export interface VisitorsReport {
  kind: 'visits';
  /** Well served since the last report, in milliseconds each. */
  httpMs: number[];
  tcpMs: number[];
  /** The others, by why. */
  failures: Record<string, number>;
  /** Due but not begun, because too many were open: then the figures are of a lower rate. */
  skipped: number;
  /** Being served now. */
  open: number;
}

export type ToCrowd = CrowdPlan | { kind: 'drop' };
export type ToVisitors = VisitorsPlan | { kind: 'places'; places: [number, Place][] } | { kind: 'rate'; perSecond: number };
