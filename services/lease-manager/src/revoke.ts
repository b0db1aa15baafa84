import { CulvertError } from '@culvert/contracts';
import type { StoredLease } from '@culvert/lease-store';
import type { ManagerDeps } from './deps.ts';

/** How long a revocation waits for those who must cut. */
const ACKNOWLEDGE_MS = 2_000;

/** The device's token is dead, here and in what is kept, and its lease is over; the names of instances that have not acknowledged the cut. */
export async function revokeDevice(device: string, deps: ManagerDeps): Promise<string[]> {
  const former = await deps.store.leases.revoke(device);
  if (former === null) throw new CulvertError('not_found', `there is no device named ${device}`);
  deps.log.info({ event: 'device.revoked', device, epoch: former.lease?.epoch });
  const [missing] = await Promise.all([cutOff(device, former, deps), deps.kept.keep(device)]);
  return missing;
}

/** The lease alone is over; false when there was none. */
export async function revokeLease(device: string, deps: ManagerDeps): Promise<boolean> {
  const former = await deps.store.leases.end(device);
  if (former === null) throw new CulvertError('not_found', `there is no device named ${device}`);
  await cutOff(device, former, deps);
  return former.lease !== null;
}

/** Ends what runs of a lease that is no more: at every listener the transfers and ports, at its ingress the connection. */
async function cutOff(device: string, { lease, pending }: StoredLease, deps: ManagerDeps): Promise<string[]> {
  const { bus } = deps;
  const options = { timeoutMs: ACKNOWLEDGE_MS };
  const epoch = Math.max(lease?.epoch ?? 0, pending?.epoch ?? 0);
  const missing = new Set<string>();
  /** False when it is not known to be done. */
  const need = async (instance: string, act: () => Promise<{ ok: boolean; code?: string }>): Promise<boolean> => {
    try {
      const reply = await act();
      if (reply.ok || reply.code === 'lease_lost' || reply.code === 'not_found') return true;
    } catch (error) {
      // Nobody serves it: an instance that is gone for sure has nothing left to cut.
      if (error instanceof CulvertError && error.code === 'not_found') return true;
    }
    missing.add(instance);
    return false;
  };
  const cutAt = async (listener: string): Promise<void> => {
    const cut = () => need(listener, () => bus.requestOf(listener, 'listener.cut', { device, epoch, code: 'revoked' }, options));
    // Cut first, so that everybody hears why; and again for those who came in before the ports were closed.
    if (!(await cut())) return;
    if (await need(listener, () => bus.requestOf(listener, 'listener.unbind', { device, epoch }, options))) await cut();
  };
  const work: Promise<unknown>[] = [];
  // A lease that has moved, or has a stand-in, has visitors at more than one.
  const others = await deps.store.instances.listeners();
  for (const listener of new Set([lease?.listener, pending?.listener, ...others])) {
    if (listener !== undefined) work.push(cutAt(listener));
  }
  for (const tenure of [lease, pending]) {
    if (tenure === null) continue;
    const close = { device, epoch: tenure.epoch, code: 'revoked', message: 'the operator revoked the device' };
    work.push(need(tenure.ingress, () => bus.requestOf(tenure.ingress, 'ingress.close', close, options)));
  }
  await Promise.all(work);
  if (lease !== null && missing.has(lease.listener)) deps.tellers.tell(device, lease.listener, epoch);
  return [...missing].sort();
}
