import type { IncomingMessage } from 'node:http';
import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import type { Logger } from './log.ts';

/** Generations of edges' workers, by when they may be forgotten, in milliseconds since 1970. */
const KEY = 'edge:retired';
const GENERATION = /^[0-9a-f]{16}$/;

/** The generation of workers through which a handshake came, as their edge says; empty when it came past all edges. */
export function generationOf({ headers }: Pick<IncomingMessage, 'headers'>): string {
  const said = headers['culvert-edge'];
  return typeof said === 'string' && GENERATION.test(said) ? said : '';
}

/**
 * Looks, every INSTANCE_RENEW_MS, which generations of edges' workers are about to end because their edge was reloaded or stops. What
 * came through them is cut WIND_DOWN_MS after that at the latest, so it is to be replaced before.
 */
export class RetiredEdges {
  readonly #redis: Redis;
  readonly #log: Logger;
  readonly #onRetired: (generations: ReadonlySet<string>) => void;
  readonly #timer: NodeJS.Timeout;
  #known: ReadonlySet<string> = new Set();
  #looking = false;

  /** @param onRetired Called after each look that found some, the same ones again included: somebody may have come through them since. */
  constructor(redis: Redis, limits: Limits, log: Logger, onRetired: (generations: ReadonlySet<string>) => void) {
    this.#redis = redis;
    this.#log = log;
    this.#onRetired = onRetired;
    this.#timer = setInterval(() => void this.#look(), limits.INSTANCE_RENEW_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const retired = new Set(await this.#redis.zrangebyscore(KEY, Date.now(), '+inf'));
      for (const generation of retired) {
        if (!this.#known.has(generation)) this.#log.info({ event: 'edge.retired', generation });
      }
      this.#known = retired;
      if (retired.size > 0) this.#onRetired(retired);
    } catch (error) {
      this.#log.debug({ event: 'edge.not_looked', err: (error as Error).message });
    } finally {
      this.#looking = false;
    }
  }
}
