export { Agent, createAgent } from './agent.ts';
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
