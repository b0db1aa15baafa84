import { CulvertError, type Lease } from '@culvert/contracts';
import { recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';

/**
 * Does the holder of that epoch live? Dead is: its ingress says so, is gone, is another start of the process, or does
 * not answer within PROBE_MS while we ourselves are connected.
 * @throws CulvertError `unavailable` when nothing can be said, because we cannot ask.
 */
export async function holderLives(lease: Lease, incarnation: string, deps: ManagerDeps): Promise<boolean> {
  const { store, bus, limits } = deps;
  const record = await recordOf(store, lease.ingress);
  if (record !== undefined && incarnation !== '' && record.incarnation !== incarnation) return false;
  const askedAt = performance.now();
  try {
    const { device, epoch } = lease;
    const reply = await bus.requestOf(lease.ingress, 'ingress.probe', { device, epoch }, { timeoutMs: limits.PROBE_MS });
    if (reply.ok) return reply.alive;
    if (reply.code === 'lease_lost' || reply.code === 'not_found') return false;
    throw new CulvertError('unavailable', `${lease.ingress} cannot be probed: ${reply.message}`, { retryAfterMs: 1_000 });
  } catch (error) {
    if (!(error instanceof CulvertError) || !bus.connected) throw error;
    if (error.code === 'not_found') return false;
    // Silence counts when it lasted, or when the store has no key of that ingress either.
    if (error.code === 'unavailable' && performance.now() - askedAt >= limits.PROBE_MS * 0.95) return false;
    if (error.code === 'unavailable' && record === undefined) return false;
    throw error;
  }
}
