export * from './devices.ts';
export * from './instances.ts';
export { keys, ROUTE_CHANNEL } from './keys.ts';
export * from './leases.ts';
export * from './outbox.ts';
export * from './ports.ts';
export { type DeviceRecord, hasRoute, type Pending, type StoredLease } from './records.ts';
export * from './recovery.ts';
export * from './store.ts';
