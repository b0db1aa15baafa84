import type { Limits } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { InstanceRecord, Logger } from '@culvert/service-kit';

/** Ports whose lease the store itself has dropped are looked for this often. */
const ORPHANS_MS = 60_000;

export interface RangesDeps {
  store: LeaseStore;
  limits: Limits;
  log: Logger;
  listeners(): Promise<InstanceRecord[]>;
}

/** Registers the port ranges of the listeners it sees, so that their free ports can be counted before the first is asked for. */
export class Ranges {
  readonly #deps: RangesDeps;
  readonly #known = new Map<string, string>();
  readonly #lookedAt = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(deps: RangesDeps) {
    this.#deps = deps;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#timer = setInterval(() => {
      this.#look().catch((err: Error) => this.#deps.log.debug({ event: 'ranges.failed', err: err.message }));
    }, this.#deps.limits.INSTANCE_RENEW_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { store, log } = this.#deps;
    const listeners = await this.#deps.listeners();
    for (const { id, ports, incarnation } of listeners) {
      if (ports === undefined) continue;
      const range = `${ports.join('-')} of ${incarnation}`;
      if (this.#known.get(id) !== range) {
        await store.ports.register(id, ports);
        log.info({ event: 'ports.registered', listener: id, first: ports[0], last: ports[1] });
        this.#known.set(id, range);
      }
      if (Date.now() - (this.#lookedAt.get(id) ?? 0) > ORPHANS_MS) {
        this.#lookedAt.set(id, Date.now());
        const released = await store.ports.releaseOrphans(id);
        if (released > 0) log.warn({ event: 'ports.orphans_released', listener: id, released });
      }
    }
    const ids = new Set(listeners.map(({ id }) => id));
    for (const id of this.#known.keys()) {
      if (ids.has(id)) continue;
      this.#known.delete(id);
      this.#lookedAt.delete(id);
    }
  }
}
