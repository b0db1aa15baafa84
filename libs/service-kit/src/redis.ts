import { parseStoreAddress, STORE_ADDRESS_FORMS, type StoreAddress } from '@culvert/contracts';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from './log.ts';

/** A primary that was demoted says so; the sentinels know the new one. */
const DEMOTED = /^(?:READONLY|UNBLOCKED|MASTERDOWN)/;

/** By sentinels: the primary is asked for at every connect, its role is checked, and a switch is heard of and followed at once. */
function sentinelOptions(address: StoreAddress & { kind: 'sentinel' }) {
  const { sentinels, name, user, password } = address;
  return {
    sentinels,
    name,
    ...(user === undefined ? {} : { username: user }),
    ...(password === undefined ? {} : { password }),
    role: 'master' as const,
    failoverDetector: true,
    sentinelMaxConnections: sentinels.length,
    sentinelCommandTimeout: 1_000,
    sentinelRetryStrategy: (attempt: number) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000),
    sentinelReconnectStrategy: (attempt: number) => Math.min(100 * 2 ** Math.min(attempt, 6), 5_000),
    reconnectOnError: (error: Error) => DEMOTED.test(error.message),
  } satisfies RedisOptions;
}

/** Before it tries again what was given up. */
const AGAIN_MS = 250;

/**
 * Makes a client, and its duplicates, go on until it is told to end. By itself it gives up for good when an attempt is broken off, which it does
 * too when it hears of a new primary in the moment in which it asks the sentinels for one: it would never be back.
 */
function lasting(redis: Redis): Redis {
  const disconnect = redis.disconnect.bind(redis);
  const duplicate = redis.duplicate.bind(redis);
  let ended = false;
  redis.disconnect = (reconnect = false) => {
    if (!reconnect) ended = true;
    disconnect(reconnect);
  };
  redis.duplicate = ((more?: Partial<RedisOptions>) => lasting(duplicate(more) as Redis)) as Redis['duplicate'];
  const again = (): void => {
    if (!ended && redis.status === 'end') redis.connect().catch(() => {}); // what it fails with is told as an event
  };
  redis.on('end', () => {
    if (!ended) setTimeout(again, AGAIN_MS);
  });
  return redis;
}

/**
 * A connection that mends itself, to one Redis or to the primary that sentinels name. Commands fail at once while it is
 * away (no offline queue): callers answer `unavailable` instead of piling up.
 */
export async function connectRedis(url: string, name: string, log: Logger, deadlineMs = 30_000): Promise<Redis> {
  const address = parseStoreAddress(url);
  if (address === undefined) throw new Error(`the address of Redis is not valid; expected ${STORE_ADDRESS_FORMS}`);
  const options = {
    lazyConnect: true,
    connectionName: name,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    commandTimeout: 3_000,
    connectTimeout: 3_000,
    // A machine that vanished sends no reset: without this, commands would fail for as long as the kernel sends again.
    socketTimeout: 4_000,
    maxLoadingRetryTime: 500,
    retryStrategy: (attempt: number) => Math.min(50 * 2 ** Math.min(attempt, 6), 1_000),
    enableAutoPipelining: true,
  } satisfies RedisOptions;
  const redis = lasting(
    address.kind === 'single' ? new Redis(address.url, options) : new Redis({ ...options, ...sentinelOptions(address) }),
  );
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
      throw new Error(`Redis at ${nameOf(address)} cannot be reached`);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
  return redis;
}

/** For people: where it is, without credentials. */
function nameOf(address: StoreAddress): string {
  if (address.kind === 'single') return new URL(address.url).host;
  return `${address.name} by the sentinels ${address.sentinels.map(({ host, port }) => `${host}:${port}`).join(', ')}`;
}
