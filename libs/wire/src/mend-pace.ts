/** Doubles that often at most: with a rest of a minute, about an hour. */
const MOST_DOUBLINGS = 6;

/**
 * How often a control connection is ended because transfers do not come about beside it: at once, the next time after a rest,
 * then after twice that rest, and so on. Where a network lets no transfer pass at all, ending it mends nothing, and a device
 * that is at least known to be there must not flap. A transfer that comes about begins anew.
 */
export class MendPace {
  readonly #restMs: number;
  #times = 0;
  #notBefore = Number.NEGATIVE_INFINITY;

  /** @param restMs MEND_REST_MS. */
  constructor(restMs: number) {
    this.#restMs = restMs;
  }

  /** Whether it may be ended now; true counts as done. `now` in milliseconds of a clock that does not jump. */
  take(now: number): boolean {
    if (now < this.#notBefore) return false;
    this.#notBefore = now + this.#restMs * 2 ** Math.min(this.#times, MOST_DOUBLINGS);
    this.#times += 1;
    return true;
  }

  /** A transfer came about. */
  reset(): void {
    this.#times = 0;
    this.#notBefore = Number.NEGATIVE_INFINITY;
  }
}
