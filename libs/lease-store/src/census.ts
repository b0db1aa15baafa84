import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { guarded } from './scripts.ts';

/** How many leases there are, by state. */
export interface LeaseCounts {
  held: number;
  /** Reconnecting or in grace: kept for a device that is not connected. */
  away: number;
}

/** Counts leases by their indexes, without reading any of them; for metrics, not for decisions. */
export async function countLeases(redis: Redis): Promise<LeaseCounts> {
  return guarded(async () => {
    const [all, known, gone] = await Promise.all([
      redis.zcard(keys.leases),
      redis.hkeys(keys.knownInstances),
      redis.zrange(keys.goneInstances, '0', '-1'),
    ]);
    const instances = [...new Set([...known, ...gone])];
    const counts = await Promise.all(instances.map((id) => redis.zcard(keys.leasesOfIngress(id))));
    const held = counts.reduce((sum, count) => sum + count, 0);
    return { held, away: Math.max(0, all - held) };
  });
}
