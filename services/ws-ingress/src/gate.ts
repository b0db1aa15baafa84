import { CulvertError, type Limits } from '@culvert/contracts';
import { AddressRates } from '@culvert/service-kit';

/** Tokens that were right lately; the longest unused are forgotten. */
const MOST_KNOWN = 50_000;
const BURST_SECONDS = 3;
const MINUTE = 60;

/**
 * Who may try: handshakes and wrong tokens of each address are counted here, before anybody on the bus is asked. An address
 * with too many wrong tokens is let in with those only that were right before: its other devices do not suffer.
 */
export class Gate {
  readonly #handshakes: AddressRates;
  readonly #failures: AddressRates;
  readonly #known = new Set<string>();

  constructor({ HANDSHAKES_PER_ADDRESS: perSecond, FAILED_TOKENS_PER_ADDRESS: perMinute }: Limits) {
    this.#handshakes = new AddressRates(perSecond, perSecond * BURST_SECONDS);
    this.#failures = new AddressRates(perMinute / MINUTE, perMinute);
  }

  /** @throws CulvertError `rate_limited` */
  enter(address: string): void {
    if (!this.#handshakes.take(address)) throw tooMany('handshakes', this.#handshakes.waitMs(address));
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

function tooMany(what: string, waitMs: number): CulvertError {
  return new CulvertError('rate_limited', `too many ${what} from this address`, { retryAfterMs: Math.max(1_000, waitMs) });
}
