import type { ErrorCode, VisitorOutcome } from '@culvert/contracts';

/** The public side of a mapping, as the server told it. */
export type AgentEndpoint =
  | { port: number; scheme: 'http' | 'https'; url: string }
  | { port: number; scheme: 'tcp'; host: string; publicPort: number };

/** A server was picked and is being connected. */
export interface ConnectingEvent {
  /** Origin of the server. */
  server: string;
}
/** The device is reachable. */
export interface ReadyEvent {
  name: string;
  epoch: number;
  /** True: name and public ports are the same as before. */
  resumed: boolean;
  endpoints: AgentEndpoint[];
  /** How long the server keeps name and ports after the connection is lost, in milliseconds. */
  graceMs: number;
  heartbeatMs: number;
}
/** The control connection, or the attempt at one, failed; the agent tries again by itself. */
export interface DisconnectedEvent {
  code: ErrorCode;
  message: string;
  retryInMs: number;
}
/** The server answered the handshake with a refusal; the agent tries again by itself. */
export interface RefusedEvent extends DisconnectedEvent {
  /** HTTP status of the refusal. */
  status: number;
}
/** A visitor's transfer is over. */
export interface TransferEvent {
  id: string;
  port: number;
  outcome: VisitorOutcome;
  /** Bytes from the visitor to the local target. */
  toDevice: number;
  /** Bytes from the local target to the visitor. */
  toVisitor: number;
}

/** Events of an agent and the arguments of their listeners. */
export interface AgentEvents {
  connecting: [ConnectingEvent];
  /** An endpoint is new or has moved; `ready` lists them all. */
  endpoint: [AgentEndpoint];
  ready: [ReadyEvent];
  disconnected: [DisconnectedEvent];
  refused: [RefusedEvent];
  transfer: [TransferEvent];
  stopped: [];
}
