export * from './config.ts';
export * from './handshakes.ts';
export * from './health.ts';
export * from './instance.ts';
export * from './log.ts';
export * from './redis.ts';
export * from './service.ts';
export * from './tokens.ts';
