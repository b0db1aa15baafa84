import type { EventType } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { guarded, runScript } from './scripts.ts';

/** One event that waits for its relay. */
export interface OutboxEntry {
  /** Redis stream id: its place in the order. */
  position: string;
  /** Id of the CloudEvents message. */
  id: string;
  type: EventType;
  /** Device, or instance. */
  subject: string;
  /** Milliseconds by the store's clock. */
  time: number;
  /** JSON text. */
  data: string;
}

/** The events that the scripts wrote, in order. Not capped: losing none is its purpose, Redis' own memory limit ends it. */
export class Outbox {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /**
   * Entries after a position, `0` for all. With `waitMs` the connection is blocked until there is one: pass a connection
   * of your own as `redis` then.
   */
  async read(after: string, limit: number, waitMs = 0, redis: Redis = this.#redis): Promise<OutboxEntry[]> {
    const reply = await guarded(() =>
      waitMs > 0
        ? redis.xread('COUNT', limit, 'BLOCK', waitMs, 'STREAMS', keys.outbox, after)
        : redis.xread('COUNT', limit, 'STREAMS', keys.outbox, after),
    );
    const entries = reply?.[0]?.[1] ?? [];
    return entries.map(([position, fields]) => {
      const value = (name: string): string => fields[fields.indexOf(name) + 1] ?? '';
      return {
        position,
        id: value('id'),
        type: value('type') as EventType,
        subject: value('device'),
        time: Number(value('time')),
        data: value('data'),
      };
    });
  }

  /** Removes everything up to and including a position. */
  async trim(position: string): Promise<void> {
    const [time, count] = position.split('-');
    await guarded(() => this.#redis.xtrim(keys.outbox, 'MINID', `${time}-${BigInt(count ?? 0) + 1n}`));
  }

  /** When the oldest event that still waits was written, in milliseconds by the store's clock; undefined when none waits. */
  async oldestAt(): Promise<number | undefined> {
    const [first] = await guarded(() => this.#redis.xrange(keys.outbox, '-', '+', 'COUNT', 1));
    return first === undefined ? undefined : Number(first[0].split('-')[0]);
  }

  async length(): Promise<number> {
    return guarded(() => this.#redis.xlen(keys.outbox));
  }

  /** Takes or renews the right to relay for `ttlMs`; the fencing number, or 0 while another one has it. */
  async lock(owner: string, ttlMs: number): Promise<number> {
    return Number(await runScript(this.#redis, 'relay_lock', [keys.relayLock, keys.relayFence], [owner, ttlMs]));
  }

  async unlock(owner: string): Promise<void> {
    await runScript(this.#redis, 'relay_unlock', [keys.relayLock], [owner]);
  }
}
