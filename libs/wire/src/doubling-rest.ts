/** Doubles that often at most: with a rest of a minute, about an hour. */
const MOST_DOUBLINGS = 6;

/**
 * How often something is tried that may mend nothing: at once, the next time after a rest, then after twice that rest, and so on.
 * So a control connection is ended because transfers do not come about beside it: where a network lets no transfer pass at all, a
 * device that is at least known to be there must not flap. So a direct address that gave no transfer is left alone: each try may
 * cost a visitor seconds. What worked begins anew.
 */
export class DoublingRest {
  readonly #restMs: number;
  #times = 0;
  #notBefore = Number.NEGATIVE_INFINITY;

  /** @param restMs MEND_REST_MS. */
  constructor(restMs: number) {
    this.#restMs = restMs;
  }

  /** Whether the rest is over. `now` in milliseconds of a clock that does not jump. */
  over(now: number): boolean {
    return now >= this.#notBefore;
  }

  /** Begins the next rest, unless the last one is not over, and says whether it did. `now` as for `over`. */
  begin(now: number): boolean {
    if (!this.over(now)) return false;
    this.#notBefore = now + this.#restMs * 2 ** Math.min(this.#times, MOST_DOUBLINGS);
    this.#times += 1;
    return true;
  }

  /** It worked. */
  reset(): void {
    this.#times = 0;
    this.#notBefore = Number.NEGATIVE_INFINITY;
  }
}
