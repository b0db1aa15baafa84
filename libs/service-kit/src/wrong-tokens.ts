import { CulvertError } from '@culvert/contracts';
import { AddressRates } from './rates.ts';

/** Tokens that were right lately; the longest unused are forgotten. */
const MOST_KNOWN = 50_000;
const MINUTE = 60;

/**
 * Wrong tokens of each address. An address with too many of them is let in with those only that were right before: whoever
 * else stands behind it does not suffer.
 */
export class WrongTokens {
  readonly #failures: AddressRates;
  readonly #known = new Set<string>();

  constructor(perMinute: number) {
    this.#failures = new AddressRates(perMinute / MINUTE, perMinute);
  }

  /** @param digest Of what was presented; undefined when its form is wrong already. @throws CulvertError `rate_limited` */
  present(address: string, digest: string | undefined): void {
    if (digest !== undefined && this.#known.has(digest)) return;
    const waitMs = this.#failures.waitMs(address);
    if (waitMs > 0) throw tooMany('wrong tokens', waitMs);
  }

  wrong(address: string): void {
    this.#failures.take(address);
  }

  right(digest: string): void {
    this.#known.delete(digest);
    this.#known.add(digest);
    const oldest = this.#known.size > MOST_KNOWN ? this.#known.values().next().value : undefined;
    if (oldest !== undefined) this.#known.delete(oldest);
  }
}

export function tooMany(what: string, waitMs: number): CulvertError {
  return new CulvertError('rate_limited', `too many ${what} from this address`, { retryAfterMs: Math.max(1_000, waitMs) });
}
