import type { ErrorCode } from '@culvert/contracts';
import type { WarmHost } from '@culvert/relay';

/** Visitors in line for each transfer that serves one. */
const LINE_PER_SERVING = 4;
/** How many times WARM_WAIT_MS a visitor stays in line at most, while transfers come back. */
const MOST_WAITS = 5;

/** Shared by all pools of a listener. */
export interface WarmBudget {
  /** Warm transfers that wait for a visitor. */
  waiting: number;
}

/**
 * The warm transfers of one device.
 *
 *   waiting --take()--> with a visitor --device says idle--> waiting
 *      \--closed by either side, trimmed, the tenure ends--> gone
 *
 * One that is with a visitor when another boot takes the name over, or when the workers of the edge that it came through are about to
 * end, serves it to the end, and never waits again.
 */
export class WarmPool {
  readonly #budget: WarmBudget;
  /** With the generation of the edge that it came through, which is empty when it came past all edges. */
  readonly #members = new Map<WarmHost, string>();
  /** The longest waiting first. */
  readonly #waiting = new Set<WarmHost>();
  /** Since then a transfer must have shown a sign of life to be trusted with a visitor. */
  #doubtedAt = Number.NEGATIVE_INFINITY;
  /** When one last came back from its visitor. */
  #returnedAt = Number.NEGATIVE_INFINITY;
  /** Visitors who wait for one to come back, the first one first. No Set, for the reason of `Members`. */
  readonly #line: (() => void)[] = [];

  constructor(budget: WarmBudget) {
    this.#budget = budget;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /** A new one. */
  add(host: WarmHost, generation: string): void {
    this.#members.set(host, generation);
    this.#wait(host);
  }

  /** One whose visitor is over. */
  idle(host: WarmHost): void {
    if (!this.#members.has(host)) host.transfer.cut('superseded');
    else if (this.#wait(host)) this.#returnedAt = performance.now();
  }

  #wait(host: WarmHost): boolean {
    if (this.#waiting.has(host) || !host.idle) return false;
    this.#waiting.add(host);
    this.#budget.waiting += 1;
    this.#line[0]?.();
    return true;
  }

  /**
   * Resolves when one waits, or when none has come back for `ms`, at the latest after MOST_WAITS times that. Undefined, so that nobody waits at
   * all, unless one came back within the last `ms`, and for each one that serves no more than LINE_PER_SERVING visitors do: a
   * dial costs several times what a warm transfer does, so short visitors who come all at once are better off in line. The
   * busier the machine, the more: visitors who gave up and dialled would make it busier still.
   */
  soon(ms: number): Promise<void> | undefined {
    const serving = this.#members.size - this.#waiting.size;
    if (this.#waiting.size > 0 || performance.now() - this.#returnedAt > ms) return undefined;
    if (this.#line.length >= serving * LINE_PER_SERVING) return undefined;
    const latest = performance.now() + ms * MOST_WAITS;
    return new Promise<void>((resolve) => {
      const leave = (): void => {
        clearTimeout(timer);
        this.#line.splice(this.#line.indexOf(leave), 1);
        resolve();
      };
      const look = (): void => {
        const now = performance.now();
        const until = Math.min(latest, this.#returnedAt + ms);
        if (now >= until) leave();
        else timer = setTimeout(look, until - now);
      };
      let timer = setTimeout(look, ms);
      this.#line.push(leave);
    });
  }

  gone(host: WarmHost): void {
    this.#members.delete(host);
    this.#waitsNoMore(host);
  }

  /** One for a visitor: the one that served last, since it is the likeliest to live. */
  take(): WarmHost | undefined {
    let best: WarmHost | undefined;
    for (const host of this.#waiting) if (host.idle && host.transfer.lastInboundAt > this.#doubtedAt) best = host;
    if (best !== undefined) this.#waitsNoMore(best);
    return best;
  }

  /** One did not answer in time: before another is trusted, the device has to answer a ping on it. */
  doubt(): void {
    this.#doubtedAt = performance.now();
    for (const { transfer } of this.#waiting) {
      if (transfer.lastInboundAt > this.#doubtedAt) this.#doubtedAt = transfer.lastInboundAt; // read before the doubt
      transfer.ping();
    }
  }

  /** Closes those that have waited longest, down to `limit`. */
  trim(limit: number): void {
    for (const host of this.#waiting) {
      if (this.#waiting.size <= limit) return;
      this.#close(host, 'bye');
    }
  }

  /** Closes all that have no visitor; one that was offered a visitor gives it back. */
  close(code: ErrorCode): void {
    for (const host of [...this.#members.keys()]) if (this.#waiting.has(host) || host.offered) this.#close(host, code);
  }

  /** Another boot has the name: as `close`, and those that serve end with their visitor. */
  retire(): void {
    this.close('superseded');
    this.#members.clear();
  }

  /** The workers of these edges are about to end: those that wait are closed, and those that serve end with their visitor. */
  leave(generations: ReadonlySet<string>): void {
    for (const [host, generation] of [...this.#members]) {
      if (!generations.has(generation)) continue;
      if (this.#waiting.has(host)) this.#close(host, 'wind_down');
      else this.#members.delete(host);
    }
  }

  #close(host: WarmHost, code: ErrorCode): void {
    this.gone(host);
    host.transfer.cut(code);
  }

  #waitsNoMore(host: WarmHost): void {
    if (this.#waiting.delete(host)) this.#budget.waiting -= 1;
  }
}
