export * from './audit.ts';
export * from './audit-log.ts';
export * from './bus.ts';
export * from './commands.ts';
export * from './events.ts';
export * from './record-client.ts';
export * from './records.ts';
export * from './schema.ts';
