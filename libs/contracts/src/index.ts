export * from './durations.ts';
export * from './errors.ts';
export * from './events.ts';
export * from './lease.ts';
export * from './limits.ts';
export * from './outcomes.ts';
export * from './protocol.ts';
export * from './store-address.ts';
