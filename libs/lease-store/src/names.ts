import { CulvertError } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import type { Leases } from './leases.ts';
import { keysOf } from './records.ts';
import { guarded, runVerdict } from './scripts.ts';

export type RenameResult =
  /** `same`: the endpoint has that name. */
  | { verdict: 'ok' | 'same' }
  /** There is no lease, or none with that endpoint. */
  | { verdict: 'none' }
  /** The endpoint is a tcp one: it has no host name. */
  | { verdict: 'no_host' }
  /** Another tenure is being set up, or the lease moves: try again. */
  | { verdict: 'busy' }
  /** The name leads elsewhere. */
  | { verdict: 'taken'; device: string };

/** A script that finds the lease changed since the read before it is tried again this often. */
const REREADS = 8;

/** The host names of leases that stand. */
export class Names {
  readonly #redis: Redis;
  readonly #leases: Pick<Leases, 'get'>;

  constructor(redis: Redis, leases: Pick<Leases, 'get'>) {
    this.#redis = redis;
    this.#leases = leases;
  }

  /** The device that the host name leads to now; null when there is none. */
  ownerOf(host: string): Promise<string | null> {
    return guarded(() => this.#redis.hget(keys.route(host), 'device'));
  }

  /** Gives the endpoint another host name; its route moves, the former name leads nowhere from now on. */
  async rename(device: string, port: number, host: string): Promise<RenameResult> {
    for (let reread = 0; reread < REREADS; reread++) {
      const stored = await this.#leases.get(device);
      const all = [...new Set([...keysOf(device, stored), keys.route(host)])];
      const [verdict, value] = await runVerdict(this.#redis, 'rename', all, [device, port, host]);
      if (verdict === 'taken') return { verdict, device: String(value) };
      if (verdict !== 'changed') return { verdict: verdict as 'ok' | 'same' | 'none' | 'no_host' | 'busy' };
    }
    throw new CulvertError('unavailable', `lease of ${device} changes too fast`, { retryAfterMs: 1_000 });
  }
}
