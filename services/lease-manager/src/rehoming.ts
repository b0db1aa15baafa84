import { randomBytes } from 'node:crypto';
import { CulvertError, type Lease } from '@culvert/contracts';
import { hasRoute } from '@culvert/lease-store';
import type { ManagerDeps } from './deps.ts';
import { moveLease } from './move-lease.ts';
import { inParallel } from './parallel.ts';
import { hasStandIn, standIn } from './stand-ins.ts';

type Why = 'listener_gone' | 'wind_down' | 'away';

const PAGE = 200;
const AT_ONCE = 16;
/** One lease-manager has the leases of a listener for this long; another one goes on when it has died. */
const CLAIM_MS = 10_000;

/**
 * Gives leases another listener when theirs is gone for LISTENER_GONE_MS, or winds down: all leases of one that is gone,
 * those with nothing but http endpoints of one that winds down. Tcp endpoints keep their port and come back with it; until then
 * the names beside them, and those of a listener that has just gone, are served by a stand-in.
 */
export class Rehoming {
  readonly #deps: ManagerDeps;
  readonly #owner = randomBytes(8).toString('hex');
  #running = false;
  #stopped = false;

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
  }

  /** Returns at once; nothing happens while an earlier look goes on. */
  look(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    void this.#look()
      .catch((err: Error) => this.#deps.log.debug({ event: 'rehoming.failed', err }))
      .finally(() => {
        this.#running = false;
      });
  }

  stop(): void {
    this.#stopped = true;
  }

  async #look(): Promise<void> {
    const { store } = this.#deps;
    for (const { id, why } of await store.instances.homeless()) {
      if (this.#stopped) return;
      // One that goes has little time: whoever sees it first moves what it can, again after a moment.
      const claimMs = why !== 'listener_gone' ? Math.min(CLAIM_MS, this.#deps.limits.SWEEP_MS * 2) : CLAIM_MS;
      if (await store.instances.claimRehoming(id, this.#owner, claimMs)) await this.#moveAll(id, why);
    }
  }

  async #moveAll(listener: string, why: Why): Promise<void> {
    const { store, log } = this.#deps;
    const startedAt = performance.now();
    let moved = 0;
    let stayed = 0;
    const count = (done: boolean): void => {
      if (done) moved += 1;
      else stayed += 1;
    };
    let cursor: string | undefined;
    do {
      const page = await store.leases.list({ listener, limit: PAGE, cursor });
      await inParallel(
        page.leases.filter(({ lease }) => why === 'listener_gone' || lease.endpoints.some(hasRoute)),
        async ({ lease, ...known }) => {
          if (this.#stopped) return;
          if (why === 'listener_gone' || (why === 'wind_down' && hasOnlyNames(lease))) {
            count(await this.#act(lease, () => moveLease(lease, known, why, this.#deps)));
          } else if (lease.state !== 'grace' && !(await hasStandIn(lease, this.#deps))) {
            count(await this.#act(lease, () => standIn(lease, known, this.#deps)));
          }
        },
        AT_ONCE,
      );
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined && !this.#stopped);
    if (why === 'listener_gone' && stayed === 0 && !this.#stopped) await store.instances.rehomed(listener);
    if (moved + stayed === 0) return;
    const ms = Math.round(performance.now() - startedAt);
    log.warn({ event: 'leases.rehomed', listener, why, moved, stayed, ms });
  }

  async #act({ device, epoch, listener }: Lease, act: () => Promise<boolean>): Promise<boolean> {
    try {
      return await act();
    } catch (err) {
      const code = err instanceof CulvertError ? err.code : 'internal';
      this.#deps.log.warn({ event: 'lease.not_moved', device, epoch, listener, code, err: (err as Error).message });
      return false;
    }
  }
}

const hasOnlyNames = ({ endpoints }: Lease): boolean => endpoints.every(({ scheme }) => scheme !== 'tcp');
