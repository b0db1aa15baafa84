import { DEFAULT_LIMITS } from '@culvert/contracts';
import { Redis } from 'ioredis';
import type { StackInfo } from '../harness/system.ts';
import type { Storm } from './storm.ts';
import { eventually } from './world.ts';

/** Beyond the time in which the living are heard. */
const HEAL_MS_PER_DEVICE = 10_000 / 10_000;
const DEADLINE_MS = 120_000;

/** What of so many devices with one endpoint each is in the store; true when it is all. */
async function isWhole(redis: Redis, { services }: StackInfo, devices: number): Promise<true | string> {
  const sizes = services.map(({ name, id }) => {
    if (name === 'ws-ingress') return redis.zcard(`leases:ingress:${id}`).then((held) => [held, 0] as const);
    if (name === 'tcp-listener') return redis.hlen(`ports:${id}:held`).then((ports) => [0, ports] as const);
    return [0, 0] as const;
  });
  let [held, ports] = [0, 0];
  for (const [ofIngress, ofListener] of await Promise.all(sizes)) [held, ports] = [held + ofIngress, ports + ofListener];
  return (held === devices && ports === devices) || `${held} leases are held, on ${ports} ports`;
}

/** Empties the store under connected devices and waits until all leases and ports are in it again. What was wrong, in sentences. */
export async function runEmptied(info: StackInfo, storm: Storm, tell: (text: string) => void): Promise<string[]> {
  const devices = storm.ready;
  const redis = new Redis(info.redis.address);
  try {
    await eventually('all are in the store', () => isWhole(redis, info, devices), DEADLINE_MS);
    const before = await redis.get('store:incarnation');
    storm.waits.length = 0;
    const startedAt = performance.now();
    await redis.flushall();
    let aliveMs = Number.POSITIVE_INFINITY;
    let wholeMs = Number.POSITIVE_INFINITY;
    await eventually(
      'the store lives and has everything again',
      async () => {
        const now = performance.now() - startedAt;
        const incarnation = await redis.get('store:incarnation');
        if (incarnation !== null && incarnation !== before) aliveMs = Math.min(aliveMs, now);
        const whole = await isWhole(redis, info, devices);
        wholeMs = whole === true ? Math.min(wholeMs, now) : Number.POSITIVE_INFINITY;
        return aliveMs < Number.POSITIVE_INFINITY ? whole : `it does not live yet; ${whole}`;
      },
      DEADLINE_MS,
    );
    const seconds = (ms: number): string => (ms / 1000).toFixed(1);
    tell(
      `the store of ${devices} devices was emptied: all in it again after ${seconds(wholeMs)} s, serving after ${seconds(aliveMs)} s`,
    );
    const faults: string[] = [];
    const most = DEFAULT_LIMITS.RECOVERY_MS + DEFAULT_LIMITS.INSTANCE_RENEW_MS + devices * HEAL_MS_PER_DEVICE;
    if (Math.max(wholeMs, aliveMs) > most) {
      faults.push(
        `the emptied store was whole after ${seconds(Math.max(wholeMs, aliveMs))} s; at most ${seconds(most)} s were promised`,
      );
    }
    if (storm.waits.length > 0) faults.push(`${storm.waits.length} devices lost their connection when the store was emptied`);
    return faults;
  } finally {
    redis.disconnect();
  }
}
