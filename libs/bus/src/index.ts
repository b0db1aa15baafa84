export * from './bus.ts';
export * from './commands.ts';
export * from './events.ts';
export * from './schema.ts';
