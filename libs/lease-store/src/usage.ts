import type { Redis } from 'ioredis';
import { keys, leaseKeys } from './keys.ts';
import { guarded, runVerdict } from './scripts.ts';

/** Bytes of one device. */
export interface Moved {
  /** Payload of transfers, from visitors. */
  to_device: number;
  /** Payload of transfers, to visitors. */
  to_visitor: number;
  /** Messages and heartbeats on control connections, both directions, with the headers of their frames. */
  control: number;
}

export interface DayUsage extends Moved {
  /** UTC, YYYY-MM-DD. */
  day: string;
}

const DAY_MS = 86_400_000;
/** A day's record stays this long. */
export const USAGE_DAYS = 40;

export const dayOf = (time: number): string => new Date(time).toISOString().slice(0, 10);
/** When the UTC day of that time is over. */
export const endOfDay = (time: number): number => (Math.floor(time / DAY_MS) + 1) * DAY_MS;

/** What devices have moved on each UTC day. */
export class Usage {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** Counts once for each (instance, batch). Answers whether the cap of the device's policy is reached. @throws CulvertError */
  async add(device: string, instance: string, batch: string, moved: Moved, now: number): Promise<boolean> {
    const day = dayOf(now);
    const all = [...leaseKeys(device), keys.usage(device, day), keys.kept('policy', device)];
    const [, over] = await runVerdict(this.#redis, 'usage_add', all, [
      ...[device, instance, batch, day, moved.to_device, moved.to_visitor, moved.control, USAGE_DAYS * DAY_MS],
    ]);
    return Number(over) === 1;
  }

  /** The last `days` days, today first; those without any traffic are zero. */
  async of(device: string, days: number, now: number): Promise<DayUsage[]> {
    const wanted = Array.from({ length: days }, (_, i) => dayOf(now - i * DAY_MS));
    const rows = await guarded(() =>
      Promise.all(wanted.map((day) => this.#redis.hmget(keys.usage(device, day), 'to_device', 'to_visitor', 'control'))),
    );
    return rows.map((row, i) => {
      const [to_device = 0, to_visitor = 0, control = 0] = row.map(Number);
      return { day: wanted[i] ?? '', to_device, to_visitor, control };
    });
  }
}
