import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { guarded, runVerdict } from './scripts.ts';

/**
 * Takes a primary into service that was started again, or was a replica before. Until then every script that changes a lease
 * answers `recovering`; so nothing is written, and no number given to an event, that would contradict what was sent before.
 */
export class Succession {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** The replication id of a primary that waits to be settled; undefined when there is nothing to do. */
  async unsettled(): Promise<string | undefined> {
    const [text, known] = await guarded(() =>
      Promise.all([this.#redis.info('replication'), this.#redis.hget(keys.primary, 'replid')]),
    );
    const field = (name: string): string => new RegExp(`^${name}:(\\w+)`, 'm').exec(text)?.[1] ?? '';
    const replid = field('master_replid');
    const settled = known === replid || field('role') !== 'master';
    return settled ? undefined : replid;
  }

  /**
   * @param sent Place in the outbox of the last event that was sent; '0' when there is none, 'foreign' when it was sent under
   *   another incarnation
   */
  async settle(replid: string, sent: string): Promise<'settled' | 'changed' | 'lost'> {
    const all = [keys.primary, keys.outbox, keys.incarnation, keys.leases];
    const [verdict] = await runVerdict(this.#redis, 'succeed', all, [replid, sent]);
    return verdict as 'settled' | 'changed' | 'lost';
  }

  /** The replication id under which the holders of leases have not been asked yet what they hold; undefined when they have. */
  async unchecked(): Promise<string | undefined> {
    const [replid, checked] = await guarded(() => this.#redis.hmget(keys.primary, 'replid', 'checked'));
    return replid === checked ? undefined : (replid ?? undefined);
  }

  async checked(replid: string): Promise<void> {
    await guarded(() => this.#redis.hset(keys.primary, 'checked', replid));
  }
}
