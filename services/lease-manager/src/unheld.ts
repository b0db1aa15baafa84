import { randomBytes } from 'node:crypto';
import { errorOfRefusal, MISSING_BATCH } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';
import { inParallel } from './parallel.ts';

/** Whoever holds something says so within this time after the store is back: it costs fewer events to wait for it. */
const HEARD_MS = 3_000;
const EVERY_MS = 2_000;
/** One lease-manager does it for this long; another one goes on when it has died. */
const CLAIM_MS = 10_000;
/** Of the claim; no listener has such an id. */
const CLAIM = 'leases that nobody holds';

interface Tenure {
  device: string;
  epoch: number;
}

/**
 * After a failover or a restart of Redis: the end of a tenure may be among the writes that were lost, and nobody would write it
 * again, for whoever has no connection any more asserts nothing. So each ingress is asked once which of the leases that it holds,
 * as the store says, it has not. Those are released, as if their connections had just broken.
 */
export class Unheld {
  readonly #deps: ManagerDeps;
  readonly #owner = randomBytes(8).toString('hex');
  #running = false;
  #lookedAt = 0;
  #seen = { replid: '', at: 0 };

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
  }

  /** Returns at once; nothing happens while an earlier look goes on, or soon after it. */
  look(): void {
    if (this.#running || performance.now() - this.#lookedAt < EVERY_MS) return;
    this.#running = true;
    void this.#look()
      .catch((err: Error) => this.#deps.log.debug({ event: 'unheld.failed', err }))
      .finally(() => {
        this.#running = false;
        this.#lookedAt = performance.now();
      });
  }

  async #look(): Promise<void> {
    const { store, log } = this.#deps;
    const replid = await store.succession.unchecked();
    if (replid === undefined) return;
    if (this.#seen.replid !== replid) this.#seen = { replid, at: performance.now() };
    if (performance.now() - this.#seen.at < HEARD_MS || !(await store.instances.claimRehoming(CLAIM, this.#owner, CLAIM_MS)))
      return;
    let released = 0;
    for (const ingress of await store.instances.ingresses()) released += await this.#ask(ingress);
    await store.succession.checked(replid);
    if (released > 0) log.warn({ event: 'leases.unheld', released });
  }

  /** How many were released. @throws CulvertError `unavailable`: it does not answer, and may hold them; another time. */
  async #ask(ingress: string): Promise<number> {
    const { store, tellers } = this.#deps;
    let released = 0;
    let cursor: string | undefined;
    for (;;) {
      const devices = await store.leases.heldBy(ingress, cursor, MISSING_BATCH);
      const leases = await Promise.all(devices.map(async (device) => (await store.leases.get(device)).lease));
      const tenures = leases.flatMap((lease) =>
        lease?.state === 'held' && lease.ingress === ingress ? [{ device: lease.device, epoch: lease.epoch }] : [],
      );
      await inParallel(await this.#missing(ingress, tenures), async ({ device, epoch }) => {
        const { lease } = await store.leases.get(device);
        if (lease?.epoch !== epoch || lease.ingress !== ingress) return;
        const { verdict } = await store.leases.release(device, epoch, lease.control, 'connection_broken');
        if (verdict !== 'ok') return;
        released += 1;
        tellers.tell(device, lease.listener, epoch);
      });
      cursor = devices.at(-1);
      if (devices.length < MISSING_BATCH) return released;
    }
  }

  async #missing(ingress: string, tenures: readonly Tenure[]): Promise<readonly Tenure[]> {
    if (tenures.length === 0) return [];
    try {
      const reply = await this.#deps.bus.requestOf(ingress, 'ingress.missing', { tenures: [...tenures] });
      if (!reply.ok) throw errorOfRefusal(reply);
      return reply.missing;
    } catch (error) {
      // Nobody serves it: its leases are released as those of an instance that is gone.
      if (error instanceof CulvertError && error.code === 'not_found') return [];
      throw error;
    }
  }
}
