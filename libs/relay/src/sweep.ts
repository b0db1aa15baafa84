import { type Member, Members } from './members.ts';

/** Something with deadlines. Times are milliseconds of `performance.now()`. */
export interface Swept extends Member {
  /** Called about every `SWEEP_MS`; must not throw. */
  check(now: number): void;
}

/** How late a deadline of the relay may fire. No timer per chunk or per transfer: one for all. */
const SWEEP_MS = 250;
const FINEST_MS = 5;

/**
 * One coarse timer for the deadlines of all transfers. It runs while something is swept, never keeps the process alive, and
 * goes faster when somebody has short deadlines (scaled-down limits in tests).
 */
class Sweep {
  readonly #swept = new Members<Swept>();
  #timer: NodeJS.Timeout | undefined;
  #periodMs = 0;

  /** @param shortestMs The shortest deadline of the newcomer; it fires at most a quarter of it late. */
  add(swept: Swept, shortestMs: number): void {
    const periodMs = Math.max(FINEST_MS, Math.min(SWEEP_MS, Math.floor(shortestMs / 4)));
    this.#swept.add(swept);
    if (this.#timer === undefined || periodMs < this.#periodMs) this.#run(periodMs);
  }

  delete(swept: Swept): void {
    if (!this.#swept.delete(swept) || this.#swept.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  get size(): number {
    return this.#swept.size;
  }

  #run(periodMs: number): void {
    clearInterval(this.#timer);
    this.#periodMs = periodMs;
    this.#timer = setInterval(() => {
      const now = performance.now();
      for (const swept of this.#swept) swept.check(now);
    }, periodMs);
    this.#timer.unref();
  }
}

export const sweep = new Sweep();
