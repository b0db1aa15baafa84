import { logAsOf } from '@culvert/service-kit';

/** So late at most is told what nobody waits for. */
const GATHER_MS = 50;
/** So many at once at most: who tells of more holds up visitors. */
const MOST = 1_024;

/**
 * Metrics, events and log lines of visitors, told for many of them at once: beside the work for the next visitor each of them finds
 * the processor's caches full of other code, and takes three times as long.
 */
export class Later {
  #tasks: { at: number; task: (at: number) => void }[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #onTold: () => void;

  /** @param onTold After each time. */
  constructor(onTold: () => void) {
    this.#onTold = onTold;
  }

  /** `task` must not throw; it is given the time of now, in milliseconds since 1970, which its log lines bear too. */
  add(task: (at: number) => void): void {
    this.#tasks.push({ at: Date.now(), task });
    if (this.#tasks.length >= MOST) this.flush();
    else this.#timer ??= setTimeout(this.flush, GATHER_MS);
  }

  /** All that was put off so far, in that order. */
  readonly flush = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const { at, task } of tasks) logAsOf(at, task);
    if (tasks.length > 0) this.#onTold();
  };
}
