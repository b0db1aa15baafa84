export type { Machine } from './machine.ts';
export { thisMachine } from './machine.ts';
export { renderEdgeConfig } from './render.ts';
export type { EdgeLogLevel, EdgeSettings, EdgeTarget } from './settings.ts';
export { checkEdgeSettings, EDGE_LOG_LEVELS } from './settings.ts';
export type { EdgeCommand } from './start.ts';
export { prepareEdge } from './start.ts';
export type { EdgeTls } from './tls.ts';
