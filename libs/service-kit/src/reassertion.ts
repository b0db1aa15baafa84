import { type Bus, type CommandRequest, REASSERT_BATCH } from '@culvert/bus';
import type { Logger } from './log.ts';

type Asserted = CommandRequest<'lease.reassert'>['leases'][number];

export interface ReassertionOptions {
  from: 'ingress' | 'listener';
  instance: string;
  bus: Pick<Bus, 'request'>;
  log: Logger;
  /** All that this instance holds now. */
  leases(): Asserted[];
  /** It belongs to another tenure, or to none, by now; `code` says why. */
  onLost(device: string, epoch: number, code: string): void;
}

const AT_ONCE = 4;
const RETRY_MS = 200;
const RETRY_MAX_MS = 2_000;

/**
 * Tells the lease-manager what this instance holds, and hears what of it is lost. A store that has lost its data takes it
 * from here; one that lives compares. To be run whenever commands, or the store's memory, may have been lost.
 */
export class Reassertion {
  readonly #options: ReassertionOptions;
  /** Incarnation of the store that has heard all; empty before the first time. */
  heardBy = '';
  #wanted = false;
  #running: Promise<void> | undefined;
  #stopped = false;

  constructor(options: ReassertionOptions) {
    this.#options = options;
  }

  /** Tries until it has worked. Asked for during a run, it runs once more. */
  run(): Promise<void> {
    this.#wanted = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  stop(): void {
    this.#stopped = true;
  }

  async #run(): Promise<void> {
    while (this.#wanted && !this.#stopped) {
      this.#wanted = false;
      const startedAt = performance.now();
      const leases = this.#options.leases();
      const batches: Asserted[][] = [];
      for (let i = 0; i === 0 || i < leases.length; i += REASSERT_BATCH) batches.push(leases.slice(i, i + REASSERT_BATCH));
      const stores = new Set<string>();
      let lost = 0;
      const rest = batches.values();
      const work = async (): Promise<void> => {
        for (const batch of rest) {
          const heard = await this.#tell(batch);
          if (heard === undefined) return;
          stores.add(heard.store);
          lost += heard.lost;
        }
      };
      await Promise.all(Array.from({ length: AT_ONCE }, work));
      if (this.#stopped) return;
      const [store = ''] = stores;
      if (stores.size > 1) this.#wanted = true;
      else this.heardBy = store;
      const ms = Math.round(performance.now() - startedAt);
      this.#options.log.info({ event: 'reassert.done', store, leases: leases.length, lost, ms });
    }
  }

  /** Undefined when it was given up because of the stop. */
  async #tell(leases: Asserted[]): Promise<{ store: string; lost: number } | undefined> {
    const { from, instance, bus, log, onLost } = this.#options;
    for (let attempt = 0; !this.#stopped; attempt++) {
      const reply = await bus.request('lease.reassert', { from, instance, leases }).catch((error: Error) => error);
      if (!(reply instanceof Error) && reply.ok) {
        for (const { device, epoch, code } of reply.lost) onLost(device, epoch, code);
        return { store: reply.store, lost: reply.lost.length };
      }
      if (attempt === 0) log.info({ event: 'reassert.delayed', why: reply.message });
      const wait = Math.min(RETRY_MAX_MS, RETRY_MS * 2 ** Math.min(attempt, 8)) * (0.5 + Math.random() / 2);
      await new Promise((resume) => setTimeout(resume, wait));
    }
    return undefined;
  }
}
