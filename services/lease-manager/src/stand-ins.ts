import { randomBytes } from 'node:crypto';
import { errorOfRefusal } from '@culvert/bus';
import type { Endpoint, Lease } from '@culvert/contracts';
import { hasRoute, type StandIn } from '@culvert/lease-store';
import { bindOfLease, bindOfStandIn, type Known, recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';
import { inParallel } from './parallel.ts';

/** Beyond the wind-down and the time after which all leases of a listener get another one. */
const SPARE_MS = 60_000;
const AT_ONCE = 16;
/** The claim of the manager that ends stand-ins; no listener has such an id. */
const CLAIM = 'stand-ins of all';

/**
 * A lease with names and tcp endpoints stays with its listener when that winds down, for its tcp ports are there. Its names
 * are served by another one meanwhile: on ports that are lent there, bound there, and only then written beside the routes.
 * Cut anywhere, nothing is left: the loan, the binding and what edges read end by their own times.
 *
 * False when the lease is another by now.
 * @throws CulvertError `unavailable`: no other listener can do it
 */
export async function standIn(lease: Lease, known: Known, { store, bus, tellers, limits, log }: ManagerDeps): Promise<boolean> {
  const { device, epoch } = lease;
  const names = lease.endpoints.filter(hasRoute);
  const leftMs = limits.WIND_DOWN_MS + limits.LISTENER_GONE_MS + SPARE_MS;
  const lent = await bus.request('port.lend', { count: names.length, except: lease.listener, ms: leftMs });
  if (!lent.ok) throw errorOfRefusal(lent);
  const { listener, ports } = lent;
  const endpoints = names.map((one, i): Endpoint => ({ ...one, public_port: ports[i] ?? 0 }));
  const bound = await bus.requestOf(listener, 'listener.bind', bindOfStandIn(lease, known, { endpoints, leftMs }));
  if (!bound.ok) throw errorOfRefusal(bound);
  const routeHost = (await recordOf(store, listener))?.host ?? '127.0.0.1';
  const began = await store.standIns.begin(lease, { listener, endpoints, leftMs }, routeHost);
  // Otherwise it unbinds; and so it hears what has become of the lease since it was bound.
  tellers.tell(device, listener, epoch);
  if (!began) return false;
  log.info({ event: 'stand_in.began', device, epoch, listener: lease.listener, stand_in: listener });
  tellers.tell(device, lease.listener, epoch);
  return true;
}

/** Are its names served by another listener that lives? */
export async function hasStandIn(lease: Lease, { store }: Pick<ManagerDeps, 'store'>): Promise<boolean> {
  const present = await store.standIns.of(lease);
  return present !== undefined && (await recordOf(store, present.listener))?.state === 'live';
}

/** Ends stand-ins once the listeners of their leases serve the names again. */
export class StandDown {
  readonly #deps: ManagerDeps;
  readonly #owner = randomBytes(8).toString('hex');
  #running = false;

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
  }

  /** Returns at once; nothing happens while an earlier look goes on. */
  look(): void {
    if (this.#running) return;
    this.#running = true;
    void this.#look()
      .catch((err: Error) => this.#deps.log.debug({ event: 'stand_in.failed', err }))
      .finally(() => {
        this.#running = false;
      });
  }

  async #look(): Promise<void> {
    const { store, limits } = this.#deps;
    const all = await store.standIns.list();
    if (all.length === 0 || !(await store.instances.claimRehoming(CLAIM, this.#owner, limits.SWEEP_MS * 2))) return;
    const listeners = [...new Set(all.map(({ listener }) => listener))];
    const records = await Promise.all(listeners.map((id) => recordOf(store, id)));
    const live = new Set(listeners.filter((_, i) => records[i]?.state === 'live'));
    await inParallel(all, (one) => this.#end(one.device, one.listener, live.has(one.listener)), AT_ONCE);
  }

  /** `isBack`: the listener that the lease had then lives, and takes visitors or is about to. */
  async #end(device: string, listener: string, isBack: boolean): Promise<void> {
    const { store, bus, limits, log } = this.#deps;
    const { lease, ...known } = await store.leases.get(device);
    const present = lease === null ? undefined : await store.standIns.of(lease, true);
    if (lease === null || present === undefined) return store.standIns.forget(device, listener);
    // One of an earlier tenure is of no use to anybody.
    if (lease.listener === listener && present.epoch === lease.epoch) {
      if (!isBack) return;
      // Acknowledged: its ports are open.
      const bound = await bus.requestOf(listener, 'listener.bind', bindOfLease(lease, known)).catch(() => undefined);
      if (bound?.ok !== true) return;
    }
    await store.standIns.end({ ...lease, listener }, present.epoch);
    log.info({ event: 'stand_in.ended', device, epoch: lease.epoch, listener, stand_in: present.listener });
    // An edge that did not hear of it goes there for ROUTE_AGE_MS more.
    setTimeout(() => void this.#close(device, present).catch(() => {}), limits.ROUTE_AGE_MS).unref();
  }

  /** No port is left open there; who waits for a transfer goes on waiting. Should nobody hear of it, it ends by itself. */
  async #close(device: string, { listener }: StandIn): Promise<void> {
    const { store, bus, limits } = this.#deps;
    const { lease, ...known } = await store.leases.get(device);
    if (lease === null || lease.listener === listener) return;
    if ((await store.standIns.of(lease))?.listener === listener) return;
    await bus.requestOf(listener, 'listener.bind', bindOfStandIn(lease, known, { endpoints: [], leftMs: limits.DIAL_MS }));
  }
}
