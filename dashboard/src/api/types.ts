/** What the admin API answers, as far as pages show it. The API's own documents are at /docs. */
import type { Role } from '@culvert/contracts';

export interface Operator {
  name: string;
  role: Role;
}

export type FleetState = 'connected' | 'reconnecting' | 'grace' | 'offline' | 'revoked';
export type FleetCounts = Record<FleetState, number>;
export type Scheme = 'http' | 'https' | 'tcp';

export interface FleetDevice {
  name: string;
  state: FleetState;
  since: number | null;
  due: number | null;
  remote: string;
  listener: string;
  ingress: string;
  endpoints: { port: number; scheme: Scheme; host: string; public_port: number }[];
  labels: Record<string, string>;
  created_at: number;
}

export interface FleetChange {
  devices: FleetDevice[];
  removed: string[];
  counts: FleetCounts;
}

export interface Endpoint {
  port: number;
  scheme: Scheme;
  url?: string;
  host: string;
  public_port: number;
}

export interface Device {
  name: string;
  state: 'connected' | 'grace' | 'offline';
  state_detail: 'held' | 'reconnecting' | 'grace' | null;
  epoch: number | null;
  endpoints: Endpoint[];
  since: number | null;
  due: number | null;
  remote: string | null;
  listener: string | null;
  ingress: string | null;
  created_at: number;
  revoked: boolean;
  labels: Record<string, string>;
  notes: string;
}

export interface VisitorRequest {
  id: string;
  at: number;
  device: string;
  host: string;
  remote: string;
  method: string;
  path: string;
  status: number;
  outcome: string;
  ms: number;
  bytes_in: number;
  bytes_out: number;
}

export interface TcpVisitor {
  id: string;
  at: number;
  remote: string;
  port: number;
  outcome: string | null;
  ms: number | null;
  to_device: number | null;
  to_visitor: number | null;
}

export interface Step {
  requests: number;
  tcp: number;
  failed: number;
  bytes_in: number;
  bytes_out: number;
}

export interface Series {
  from: number;
  step_ms: number;
  steps: Step[];
}

export interface Traffic extends Series {
  busiest: { device: string; visits: number; minutes: number[] }[];
}

export interface CulvertEvent {
  id: string;
  type: string;
  subject: string;
  time: string;
  data: Record<string, unknown>;
}

export interface TraceStep {
  step: string;
  status: 'ok' | 'failed' | 'skipped';
  ms: number | null;
  code: string;
  detail: string;
}

export interface Trace {
  device: string;
  ok: boolean;
  at: number;
  ms: number;
  failure: TraceStep | null;
  steps: TraceStep[];
  endpoints: {
    port: number;
    scheme: Scheme;
    address: string;
    ok: boolean;
    failure: TraceStep | null;
    steps: TraceStep[];
  }[];
}

export interface Access {
  access: 'public' | 'private' | 'default';
  effective: 'public' | 'private';
}

export interface Grant {
  id: string;
  label: string;
  created_at: number;
  created_by: string;
  expires_at: number;
  host: string | null;
}

export interface Usage {
  days: { day: string; total: number; to_device: number; to_visitor: number; control: number }[];
  alert: number | null;
  cap: number | null;
}

export interface Instance {
  id: string;
  service: string;
  state: 'live' | 'winding_down' | 'gone';
  address: string;
  started_at: number | null;
  load: { at: number; cpu: number; loop: number; memory: number; counts: Record<string, number> } | null;
  devices: number | null;
  ports: { first: number; last: number; leased: number; free: number | null; cooling: number | null } | null;
}

export interface AuditEntry {
  id: string;
  time: number;
  operator: string;
  role: Role | null;
  action: string;
  object: string;
  from: string;
  outcome: string;
  detail: Record<string, string | number | boolean | null>;
}

export interface Policy {
  visitors?: number;
  visitors_per_second?: number;
  bytes_per_second?: number;
  day_bytes_alert?: number;
  day_bytes_cap?: number;
  ports?: string[];
  forward?: number[];
  allow?: { port: number; from: string[] }[];
}

export interface ReservedHost {
  port: number;
  label: string;
}

export interface EnrolmentKey {
  id: string;
  labels: Record<string, string>;
  notes: string;
  uses_left: number | null;
  created_at: number;
  created_by: string;
  expires_at: number | null;
}

export interface KnownOperator extends Operator {
  created_at: number;
  created_by: string;
}

export interface Webhook {
  id: string;
  url: string;
  types: string[];
  devices: string[];
  state: 'on' | 'disabled';
  disabled_at: number | null;
  disabled_reason: string | null;
  replaying: boolean;
  created_at: number;
  created_by: string;
}

export interface DeadLetter {
  at: number;
  reason: string;
  event: CulvertEvent;
}
