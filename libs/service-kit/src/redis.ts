import { Redis } from 'ioredis';
import type { Logger } from './log.ts';

/**
 * A connection that mends itself. Commands fail at once while it is away (no offline queue): callers answer
 * `unavailable` instead of piling up.
 */
export async function connectRedis(url: string, name: string, log: Logger, deadlineMs = 30_000): Promise<Redis> {
  const redis = new Redis(url, {
    lazyConnect: true,
    connectionName: name,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 3_000,
    connectTimeout: 3_000,
    retryStrategy: (attempt) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000),
    enableAutoPipelining: true,
  });
  let away = false;
  redis.on('error', (error: Error) => {
    if (!away) log.warn({ event: 'redis.away', err: error.message });
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info({ event: 'redis.back' });
    away = false;
  });
  const until = Date.now() + deadlineMs;
  redis.connect().catch(() => {}); // the retry strategy goes on; readiness is awaited below
  while (redis.status !== 'ready') {
    if (Date.now() > until) {
      redis.disconnect();
      throw new Error(`Redis at ${new URL(url).host} cannot be reached`);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  return redis;
}
