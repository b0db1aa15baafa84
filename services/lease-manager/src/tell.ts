import type { Bus } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import { bindOfLease, bindOfStandIn } from './binding.ts';

/** A lease whose listener does not know its newest state yet. */
interface Untold {
  device: string;
  listener: string;
  /** Unbound with it once the lease is no more. */
  epoch: number;
  until: number;
  attempt: number;
}

const AT_ONCE = 64;
const MOST = 50_000;
const BACKOFF_MS = 250;
const BACKOFF_MAX_MS = 3_000;
/** A listener that has not answered for this long reads all its leases when it is back. */
const GIVE_UP_MS = 60_000;

/**
 * Tells listeners what became of leases. Level-triggered: what is sent is the state at the time of sending, so a lease
 * that changes often is told once, and late news of an old epoch cannot be.
 */
export class Tellers {
  readonly #store: LeaseStore;
  readonly #bus: Bus;
  readonly #log: Logger;
  readonly #waiting = new Map<string, Untold>();
  readonly #running = new Set<string>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  constructor(store: LeaseStore, bus: Bus, log: Logger) {
    this.#store = store;
    this.#bus = bus;
    this.#log = log;
  }

  get size(): number {
    return this.#waiting.size + this.#running.size + this.#timers.size;
  }

  /** `epoch`: the tenure that has ended or changed; a listener that knows a newer one ignores the news. */
  tell(device: string, listener: string, epoch: number): void {
    this.#add({ device, listener, epoch, until: Date.now() + GIVE_UP_MS, attempt: 0 });
  }

  stop(): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#waiting.clear();
  }

  #add(untold: Untold): void {
    if (this.#stopped) return;
    const key = `${untold.device} ${untold.listener}`;
    const known = this.#waiting.get(key);
    if (known !== undefined && known.epoch > untold.epoch) return;
    if (known === undefined && this.#waiting.size >= MOST) {
      this.#log.error({ event: 'listener.untold', why: 'too many wait', device: untold.device, listener: untold.listener });
      return;
    }
    this.#waiting.set(key, untold);
    this.#next();
  }

  #next(): void {
    for (const [key, untold] of this.#waiting) {
      if (this.#running.size >= AT_ONCE) return;
      if (this.#running.has(key)) continue;
      this.#waiting.delete(key);
      this.#running.add(key);
      void this.#run(key, untold);
    }
  }

  async #run(key: string, untold: Untold): Promise<void> {
    const { device, listener, epoch } = untold;
    try {
      await this.#send(untold);
    } catch (error) {
      const gone = error instanceof CulvertError && error.code === 'not_found';
      if (gone || Date.now() > untold.until) {
        this.#log.warn({ event: 'listener.untold', device, listener, epoch, err: error });
      } else {
        this.#later({ ...untold, attempt: untold.attempt + 1 });
      }
    }
    this.#running.delete(key);
    this.#next();
  }

  async #send({ device, listener, epoch }: Untold): Promise<void> {
    const { lease, ...known } = await this.#store.leases.get(device);
    const standIn = lease === null ? undefined : await this.#store.standIns.of(lease);
    const own = lease?.listener === listener;
    const reply =
      lease === null || (!own && standIn?.listener !== listener)
        ? await this.#bus.requestOf(listener, 'listener.unbind', { device, epoch })
        : await this.#bus.requestOf(
            listener,
            'listener.bind',
            own || standIn === undefined ? bindOfLease(lease, known, standIn) : bindOfStandIn(lease, known, standIn),
          );
    if (own && standIn !== undefined) this.tell(device, standIn.listener, epoch);
    // A refusal as `lease_lost` says that the listener knows a newer tenure: nothing is left to tell.
    if (!reply.ok && reply.code === 'unavailable') throw new CulvertError('unavailable', reply.message);
  }

  #later(untold: Untold): void {
    const wait = Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** Math.min(untold.attempt, 6)) * (0.5 + Math.random() / 2);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#add(untold);
    }, wait);
    this.#timers.add(timer);
  }
}
