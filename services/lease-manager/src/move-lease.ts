import { errorOfRefusal } from '@culvert/bus';
import { CulvertError, type Endpoint, type Lease } from '@culvert/contracts';
import { bindOfLease, type Known, recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';

/** Ports in foreign hands are replaced in the next round. */
const ROUNDS = 3;
const UNDO_MS = 1_500;
/** How often the device's ingress is told where its endpoints are now. */
const TELLINGS = 5;
const TELL_AGAIN_MS = 500;

/**
 * Moves one lease to another live listener: reserved there, bound there, then moved in the store by one script. Host names,
 * tenure and running transfers stay; every endpoint has another public port. False when somebody else is changing it.
 * @throws CulvertError `ports_exhausted`, `unavailable`
 */
export async function moveLease(
  lease: Lease,
  known: Known,
  reason: 'listener_gone' | 'wind_down',
  deps: ManagerDeps,
): Promise<boolean> {
  const { store, bus, tellers, log } = deps;
  const { device, epoch } = lease;
  const begun = await store.leases.beginMove(device, epoch, lease.listener);
  if (begun.verdict !== 'ok') return false;
  const { reservation } = begun;
  let bound: string | undefined;
  try {
    let ports: number[] = [];
    let unusable: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const count = lease.endpoints.length - ports.length;
      const reply = await bus.request('port.allocate', { device, epoch: reservation, count, listener: bound ?? null, unusable });
      if (!reply.ok) throw errorOfRefusal(reply);
      const { listener } = reply;
      ports = [...ports, ...reply.ports];
      const record = await recordOf(store, listener);
      if (record === undefined) throw new CulvertError('unavailable', `${listener} has just gone as well`);

      bound = listener;
      const endpoints = lease.endpoints.map((one, i): Endpoint => ({ ...one, public_port: ports[i] ?? 0 }));
      const bind = bindOfLease({ ...lease, listener, endpoints, rev: lease.rev + 1 }, known);
      const answer = await bus.requestOf(listener, 'listener.bind', bind);
      if (!answer.ok) {
        unusable = answer.code === 'unavailable' ? ('failed' in answer ? (answer.failed ?? []) : []) : [];
        if (unusable.length === 0) throw new CulvertError('unavailable', `${listener} does not bind: ${answer.message}`);
        ports = ports.filter((port) => !unusable.includes(port));
        continue;
      }
      const routeHost = record.host ?? '127.0.0.1';
      const moved = await store.leases.move(device, { reservation, epoch, listener, endpoints, routeHost, reason });
      if (moved !== 'ok') throw new CulvertError('unavailable', `the move was overtaken: ${moved}`);
      log.info({ event: 'lease.moved', device, epoch, listener, previous_listener: lease.listener, reason });
      // To both what stands now: it may have changed since the bind, and the former one, if it lives, lets go. Not at once: an
      // edge may use the former route for ROUTE_AGE_MS more, and whoever comes by it is to be served.
      tellers.tell(device, listener, epoch);
      setTimeout(() => tellers.tell(device, lease.listener, epoch), deps.limits.ROUTE_AGE_MS).unref();
      if (lease.state === 'held') void tellDevice({ ...lease, listener, endpoints }, deps);
      return true;
    }
    throw new CulvertError('unavailable', 'no ports that can be bound were found');
  } catch (error) {
    if (bound !== undefined) {
      await bus.requestOf(bound, 'listener.unbind', { device, epoch }, { timeoutMs: UNDO_MS }).catch(() => {});
    }
    // Failing that, the sweep gives it up when TENURE_CONFIRM_MS is over.
    await store.leases.abandon(device, reservation).catch(() => {});
    if (bound !== undefined) tellers.tell(device, bound, reservation);
    throw error;
  }
}

/** The device hears what its endpoints are now while it is connected; if it is not, it hears of them when it is. */
export async function tellDevice(
  { device, epoch, ingress, listener, endpoints }: Lease,
  { bus, log }: ManagerDeps,
): Promise<void> {
  for (let telling = 0; telling < TELLINGS; telling++) {
    const reply = await bus
      .requestOf(ingress, 'ingress.endpoints', { device, epoch, listener, endpoints })
      .catch(() => undefined);
    if (reply?.ok === true || reply?.code === 'lease_lost') return;
    await new Promise((resume) => setTimeout(resume, TELL_AGAIN_MS * 2 ** telling));
  }
  log.warn({ event: 'endpoints.untold', device, epoch, ingress });
}
