import { CulvertError } from '@culvert/contracts';
import type { StopSignal } from '@culvert/relay';

interface Waiter {
  start(): void;
}

/** A device's transfers: at most `limit` at once, whoever comes beyond it waits in line. */
export class Slots {
  #limit = 1;
  #used = 0;
  readonly #line = new Set<Waiter>();

  set limit(limit: number) {
    this.#limit = limit;
    this.#next();
  }

  /**
   * Takes a slot, which `give` gives back. Undefined: it is taken at once.
   *
   * @throws CulvertError `busy` after `timeoutMs`, or the reason of the signal, as what it resolves to.
   */
  take(signal: StopSignal, timeoutMs: number): Promise<void> | undefined {
    if (this.#used >= this.#limit) return this.#wait(signal, timeoutMs);
    this.#used += 1;
    return undefined;
  }

  /** To be called once for each that was taken. */
  give(): void {
    this.#used -= 1;
    this.#next();
  }

  #wait(signal: StopSignal, timeoutMs: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        this.#line.delete(waiter);
      };
      const waiter: Waiter = {
        start: () => {
          leave();
          resolve();
        },
      };
      const onAbort = (): void => {
        leave();
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        leave();
        reject(new CulvertError('busy', 'the device has as many transfers as it can take'));
      }, timeoutMs);
      signal.addEventListener('abort', onAbort);
      this.#line.add(waiter);
    });
  }

  #next(): void {
    for (const waiter of this.#line) {
      if (this.#used >= this.#limit) return;
      this.#used += 1;
      waiter.start();
    }
  }
}
