export * from './backoff.ts';
export * from './frame.ts';
export * from './mask.ts';
export * from './messages.ts';
export * from './parser.ts';
export * from './request.ts';
export * from './response.ts';
