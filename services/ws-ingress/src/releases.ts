import type { Bus } from '@culvert/bus';
import type { DisconnectReason, Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';

/** A tenure that is over. */
export interface Release {
  device: string;
  /** Undefined when the grant's answer never came: it is asked for by the id of the control connection. */
  epoch: number | undefined;
  control: string;
  reason: DisconnectReason;
}

const MOST = 20_000;
const AT_ONCE = 64;
const BACKOFF_MS = 250;
const BACKOFF_MAX_MS = 5_000;

/**
 * Tells the lease-manager of ended tenures, each again and again until it is heard: while this instance lives, nobody
 * else would end them. Stale ones are refused with `lease_lost`, which is an answer too. At most MOST wait; beyond it the
 * oldest is given up, and the next newcomer's probe finds it.
 */
export class Releases {
  readonly #bus: Pick<Bus, 'request'>;
  readonly #limits: Limits;
  readonly #log: Logger;
  readonly #ingress: string;
  readonly #waiting = new Set<Release>();
  readonly #running = new Set<Release>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #failures = 0;

  constructor(bus: Pick<Bus, 'request'>, limits: Limits, log: Logger, ingress: string) {
    this.#bus = bus;
    this.#limits = limits;
    this.#log = log;
    this.#ingress = ingress;
  }

  get size(): number {
    return this.#waiting.size + this.#running.size + this.#timers.size;
  }

  add(release: Release): void {
    this.#waiting.add(release);
    const oldest = this.#waiting.size > MOST ? this.#waiting.values().next().value : undefined;
    if (oldest !== undefined) {
      this.#waiting.delete(oldest);
      this.#log.error({ event: 'release.given_up', device: oldest.device, epoch: oldest.epoch });
    }
    this.#next();
  }

  /** The answer to an acquire never came: its tenure, if it was granted after all, is looked for once it must be settled. */
  addUnknown(device: string, control: string): void {
    const release: Release = { device, epoch: undefined, control, reason: 'connection_broken' };
    this.#later(release, this.#limits.ACQUIRE_MS);
  }

  /** Resolves when all are done, at the latest after `ms`. */
  async settle(ms: number): Promise<void> {
    const until = Date.now() + ms;
    while (this.#waiting.size + this.#running.size > 0 && Date.now() < until) await new Promise((done) => setTimeout(done, 20));
    for (const timer of this.#timers) clearTimeout(timer);
  }

  #next(): void {
    for (const release of this.#waiting) {
      if (this.#running.size >= AT_ONCE) return;
      this.#waiting.delete(release);
      this.#running.add(release);
      void this.#run(release);
    }
  }

  async #run(release: Release): Promise<void> {
    let done = false;
    try {
      done = await this.#tell(release);
      this.#failures = 0;
    } catch (err) {
      this.#failures += 1;
      if (this.#failures === 1) this.#log.warn({ event: 'release.delayed', device: release.device, err });
    }
    if (!done) await new Promise((resume) => setTimeout(resume, this.#backoff()));
    this.#running.delete(release);
    if (!done) this.#waiting.add(release);
    this.#next();
  }

  #backoff(): number {
    return Math.min(BACKOFF_MAX_MS, BACKOFF_MS * 2 ** Math.min(this.#failures, 8)) * (0.5 + Math.random() / 2);
  }

  /** False when it must be said again. */
  async #tell({ device, epoch, control, reason }: Release): Promise<boolean> {
    const known = epoch ?? (await this.#epochOf(device, control));
    if (known === 'away') return false;
    if (known === undefined) return true;
    const reply = await this.#bus.request('lease.release', { device, epoch: known, control, reason });
    if (reply.ok || reply.code === 'lease_lost' || reply.code === 'not_found') return true;
    if (reply.code !== 'bad_request') return false;
    this.#log.error({ event: 'release.refused', device, epoch: known, message: reply.message });
    return true;
  }

  async #epochOf(device: string, control: string): Promise<number | 'away' | undefined> {
    const reply = await this.#bus.request('lease.get', { device });
    if (!reply.ok) return 'away';
    const { lease } = reply;
    return lease !== null && lease.control === control && lease.ingress === this.#ingress ? lease.epoch : undefined;
  }

  #later(release: Release, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.add(release);
    }, ms);
    this.#timers.add(timer);
  }
}
