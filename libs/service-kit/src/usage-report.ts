import { type Bus, USAGE_BATCH } from '@culvert/bus';
import type { Logger } from './log.ts';

export interface MovedBytes {
  to_device?: number;
  to_visitor?: number;
  control?: number;
}

interface Entry {
  device: string;
  to_device: number;
  to_visitor: number;
  control: number;
}

export interface UsageReportOptions {
  bus: Pick<Bus, 'request'>;
  log: Logger;
  instance: string;
  /** Random per start: batches of different starts must not be taken for each other. */
  incarnation: string;
  /** Between two reports, in milliseconds. */
  everyMs: number;
  /** Adds what is not counted yet; called before each report. */
  collect?: () => void;
  /** The device had reached its cap for the day, which ends at `until` (milliseconds since 1970), when asked at `askedAt` (`performance.now()`). */
  onSpent?: (device: string, until: number, askedAt: number) => void;
}

/**
 * Sums up what devices move and reports it in batches: one entry a device, however many transfers it had. A batch that was
 * not acknowledged is sent again under its name and counted once; meanwhile the sums grow, not the memory.
 */
export class UsageReport {
  readonly #options: UsageReportOptions;
  #sums = new Map<string, Entry>();
  #unsent: { batch: string; entries: Entry[] }[] = [];
  #count = 0;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;

  constructor(options: UsageReportOptions) {
    this.#options = options;
  }

  start(): void {
    this.#timer = setInterval(() => void this.flush(), this.#options.everyMs);
  }

  add(device: string, { to_device = 0, to_visitor = 0, control = 0 }: MovedBytes): void {
    if (to_device + to_visitor + control === 0) return;
    const sum = this.#sums.get(device);
    if (sum === undefined) this.#sums.set(device, { device, to_device, to_visitor, control });
    else {
      sum.to_device += to_device;
      sum.to_visitor += to_visitor;
      sum.control += control;
    }
  }

  /** Reports what there is. Never rejects: what could not be told stays for the next time. */
  flush(): Promise<void> {
    this.#running ??= this.#send().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Reports for the last time. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#running;
    await this.flush();
  }

  async #send(): Promise<void> {
    const { bus, log, instance, incarnation, collect, onSpent } = this.#options;
    collect?.();
    if (this.#unsent.length === 0 && this.#sums.size > 0) {
      const all = [...this.#sums.values()];
      this.#sums = new Map();
      for (let i = 0; i < all.length; i += USAGE_BATCH) {
        this.#count += 1;
        this.#unsent.push({ batch: `${incarnation}:${this.#count}`, entries: all.slice(i, i + USAGE_BATCH) });
      }
    }
    for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
      try {
        const askedAt = performance.now();
        const reply = await bus.request('usage.report', { instance, ...first });
        if (!reply.ok) return void log.debug({ event: 'usage.not_taken', code: reply.code });
        this.#unsent.shift();
        for (const device of reply.spent) onSpent?.(device, reply.until, askedAt);
      } catch (err) {
        return void log.debug({ event: 'usage.not_told', err: (err as Error).message });
      }
    }
  }
}
