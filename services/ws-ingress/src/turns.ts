import { CulvertError } from '@culvert/contracts';

interface Waiter {
  go(): void;
}

/** Who is sent away in a storm comes back within this span, spread so that none of its waves is as high as the first. */
const AWAY_MIN_MS = 2_000;
const AWAY_MAX_MS = 10_000;

/**
 * Turns to acquire a lease: at most `limit` at once, in the order of arrival. More at once would serve nobody faster, and
 * all of them would miss their deadline.
 */
export class Turns {
  readonly #limit: number;
  readonly #line = new Set<Waiter>();
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get taken(): number {
    return this.#taken;
  }

  get waiting(): number {
    return this.#line.size;
  }

  /**
   * Takes a turn; the returned function gives it back, once.
   * @throws CulvertError `unavailable` with a spread Retry-After when none was free within `waitMs`, or the client has left.
   */
  async take(gone: AbortSignal, waitMs: number): Promise<() => void> {
    if (this.#taken < this.#limit) this.#taken += 1;
    else await this.#wait(gone, waitMs);
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.#line.values().next().value;
      if (next === undefined) this.#taken -= 1;
      else next.go(); // the turn itself is handed on
    };
  }

  #wait(gone: AbortSignal, waitMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        gone.removeEventListener('abort', away);
        this.#line.delete(waiter);
      };
      const away = (): void => {
        leave();
        const retryAfterMs = AWAY_MIN_MS + Math.random() * (AWAY_MAX_MS - AWAY_MIN_MS);
        reject(new CulvertError('unavailable', 'too many devices connect at once', { retryAfterMs }));
      };
      const waiter: Waiter = {
        go: () => {
          leave();
          resolve();
        },
      };
      const timer = setTimeout(away, waitMs);
      gone.addEventListener('abort', away, { once: true });
      this.#line.add(waiter);
    });
  }
}
