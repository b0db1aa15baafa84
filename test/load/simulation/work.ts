import type { Redis } from 'ioredis';
import { cpuSeconds } from '../../bench/figures.ts';

/** What a piece of work on the store took. */
export interface Work {
  count: number;
  seconds: number;
  /** By the clock, and by Redis' own CPU: one core of it does so many. */
  perSecond: number;
  redisMicros: number;
  /** Of Redis, for each. */
  commands: number;
  scripts: number;
}

export async function redisFigures(redis: Redis): Promise<{ commands: number; scripts: number; usedBytes: number }> {
  const text = await redis.info('stats', 'memory', 'commandstats');
  const value = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  return {
    commands: value(/^total_commands_processed:([0-9]+)/m),
    scripts: value(/^cmdstat_evalsha:calls=([0-9]+)/m) + value(/^cmdstat_eval:calls=([0-9]+)/m),
    usedBytes: value(/^used_memory:([0-9]+)/m),
  };
}

const LANES = 256;

/** Does it for every index from `from` on, many at a time, and says what each cost. */
export async function measure(
  { redis, pid }: { redis: Redis; pid: number },
  from: number,
  count: number,
  work: (index: number) => Promise<unknown>,
): Promise<Work> {
  const before = { ...(await redisFigures(redis)), cpu: cpuSeconds([pid]), at: performance.now() };
  let next = from;
  const end = from + count;
  const lane = async (): Promise<void> => {
    while (next < end) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(LANES, count) }, lane));
  const seconds = (performance.now() - before.at) / 1000;
  const after = await redisFigures(redis);
  return {
    ...{ count, seconds, perSecond: count / seconds },
    redisMicros: ((cpuSeconds([pid]) - before.cpu) * 1e6) / count,
    commands: (after.commands - before.commands) / count,
    scripts: (after.scripts - before.scripts) / count,
  };
}
