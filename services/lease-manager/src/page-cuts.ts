import type { Bus, RecordValue } from '@culvert/bus';
import { CulvertError, type Lease, type Limits } from '@culvert/contracts';
import { hasRoute, type LeaseStore } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';

export interface PageCutsDeps {
  store: LeaseStore;
  bus: Pick<Bus, 'requestOf'>;
  limits: Pick<Limits, 'ROUTE_AGE_MS'>;
  log: Logger;
  /** Whether pages are private where nothing else is said. */
  fallback: 'public' | 'private';
}

/** Devices whose second cut is still to come; beyond it they get the first one only. */
const MOST = 10_000;
const ACKNOWLEDGE_MS = 2_000;

/**
 * Ends what runs of a device's private pages when somebody has lost the right to see them: an edge looks at rights when a
 * request comes, and a WebSocket may last for days. Nobody knows here which transfer serves whom, so all visitors of these
 * pages are cut; who still may connects anew. Once at once, and once more when even an edge that did not hear of the
 * change has found out, for what it let in meanwhile.
 */
export class PageCuts {
  readonly #deps: PageCutsDeps;
  readonly #later = new Map<string, NodeJS.Timeout>();

  constructor(deps: PageCutsDeps) {
    this.#deps = deps;
  }

  /** `port`: that endpoint only. Never rejects; what was not acknowledged is tried once more. */
  async cut(device: string, port?: number): Promise<void> {
    await this.#cut(device, port);
    const key = `${device} ${port ?? ''}`;
    if (this.#later.has(key) || this.#later.size >= MOST) return;
    const again = setTimeout(
      () => {
        this.#later.delete(key);
        void this.#cut(device, port);
      },
      this.#deps.limits.ROUTE_AGE_MS + ACKNOWLEDGE_MS / 4,
    );
    this.#later.set(key, again);
  }

  stop(): void {
    for (const timer of this.#later.values()) clearTimeout(timer);
    this.#later.clear();
  }

  async #cut(device: string, port: number | undefined): Promise<void> {
    const { store, bus, log } = this.#deps;
    try {
      const { lease } = await store.leases.get(device);
      if (lease === null) return;
      const ports = await this.#privatePages(lease, port);
      if (ports.length === 0) return;
      const wanted = { device, epoch: lease.epoch, code: 'not_allowed', only: ports };
      // A lease that has moved, or has a stand-in, has visitors at more than one.
      const listeners = new Set([lease.listener, ...(await store.instances.listeners())]);
      const cutAt = async (listener: string): Promise<void> => {
        try {
          const reply = await bus.requestOf(listener, 'listener.cut', wanted, { timeoutMs: ACKNOWLEDGE_MS });
          if (reply.ok && reply.cut > 0)
            log.info({ event: 'pages.cut', device, listener, epoch: lease.epoch, ports, cut: reply.cut });
        } catch (err) {
          if (err instanceof CulvertError && err.code === 'not_found' && listener !== lease.listener) return; // it is gone, and all with it
          log.warn({ event: 'pages.not_cut', device, listener, err });
        }
      };
      await Promise.all([...listeners].map(cutAt));
    } catch (err) {
      log.warn({ event: 'pages.not_cut', device, err });
    }
  }

  async #privatePages({ device, endpoints }: Lease, only: number | undefined): Promise<number[]> {
    const pages = endpoints.filter(hasRoute).filter(({ port }) => only === undefined || port === only);
    if (pages.length === 0) return [];
    const ofDevice = await this.#said(device);
    const said = await Promise.all(pages.map(({ port }) => this.#said(`${device}.${port}`)));
    const fallback = this.#deps.fallback === 'private';
    return pages.filter((_, i) => said[i] ?? ofDevice ?? fallback).map(({ port }) => port);
  }

  /** True: private; undefined: nothing is said. */
  async #said(id: string): Promise<boolean | undefined> {
    const record = await this.#deps.store.kept.get('access', id);
    return record === null ? undefined : (JSON.parse(record.json) as RecordValue<'access'>).private;
  }
}

/** What a change of a record means for those who look at pages; `undefined`: nothing. */
export function lostRightsOf(collection: string, id: string): { device: string; port?: number } | undefined {
  if (collection !== 'access' && collection !== 'grant') return undefined;
  const [device = '', rest] = id.split('.');
  return collection === 'access' && rest !== undefined ? { device, port: Number(rest) } : { device };
}
