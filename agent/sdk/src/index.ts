export { Access, type AccessOptions, faultsOfAccess } from './access/access.ts';
export { type ForwardOptions, forwardStreams, listenForward } from './access/forward.ts';
export type { LocalServer } from './access/local-server.ts';
export type { Destination, LocalResult } from './access/local-visit.ts';
export { listenSocks, type SocksOptions } from './access/socks-server.ts';
export { Agent, createAgent } from './agent.ts';
export { createToken, type EnrollOptions, enroll } from './enroll.ts';
export type {
  AgentEndpoint,
  AgentEvents,
  ConnectingEvent,
  DisconnectedEvent,
  ReadyEvent,
  RefusedEvent,
  TransferEvent,
} from './events.ts';
export { formatMapping, formatTarget, type Mapping, type MappingResult, parseMapping } from './mapping.ts';
export { type AgentLimits, type AgentOptions, faultsOfOptions, isToken } from './options.ts';
