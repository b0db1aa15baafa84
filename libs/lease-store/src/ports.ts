import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { guarded, runScript, runVerdict } from './scripts.ts';

export interface ReserveRequest {
  device: string;
  epoch: number;
  listener: string;
  /** First and last public port of the listener. */
  range: readonly [number, number];
  count: number;
  /** Ports of this tenure that a foreign process holds. */
  unusable: readonly number[];
}

export type ReserveResult =
  | { verdict: 'ok'; ports: number[] }
  /** The listener has fewer free ports than that; nothing was reserved. */
  | { verdict: 'exhausted'; free: number }
  /** The tenure is not the pending one any more, or has its ports at another listener. */
  | { verdict: 'stale' };

/** At most one `ports.exhausted` a listener in this time. */
const EXHAUSTED_PAUSE_MS = 60_000;

/** Per cent of a listener's ports that are not lent: leases go first. */
const KEPT_FREE = 10;

/** Which public port of which listener belongs to whom. */
export class Ports {
  readonly #redis: Redis;
  readonly #limits: Limits;

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.#limits = limits;
  }

  /** Reserves for a pending tenure, all or none; the ports return with it unless it is confirmed. */
  async reserve(request: ReserveRequest): Promise<ReserveResult> {
    const { device, epoch, listener, range, count, unusable } = request;
    const all = [keys.lease(device), keys.freePorts(listener), keys.heldPorts(listener), keys.portRange(listener)];
    for (;;) {
      const [verdict, ...values] = await runVerdict(this.#redis, 'reserve', all, [
        ...[device, epoch, listener, count, range.join('-'), this.#limits.COOL_DOWN_MS],
        JSON.stringify(unusable),
      ]);
      if (verdict === 'ok') return { verdict, ports: values.map(Number) };
      if (verdict === 'exhausted') return { verdict, free: Number(values[0]) };
      if (verdict === 'stale') return { verdict };
      await this.register(listener, range);
    }
  }

  /**
   * Ports that may be used for `ms` without being held; they need not be given back. Null when the listener has too few.
   */
  async lend(listener: string, count: number, ms: number): Promise<number[] | null> {
    const all = [keys.freePorts(listener), keys.portRange(listener)];
    const [verdict, ...values] = await runVerdict(this.#redis, 'lend', all, [count, ms + this.#limits.COOL_DOWN_MS, KEPT_FREE]);
    return verdict === 'ok' ? values.map(Number) : null;
  }

  /** Makes the free ports fit the range; held ones outside it stay until they are released. */
  async register(listener: string, [first, last]: readonly [number, number]): Promise<void> {
    const all = [keys.freePorts(listener), keys.heldPorts(listener), keys.portRange(listener)];
    await runScript(this.#redis, 'register_range', all, [first, last]);
  }

  /** About how many ports may be given out now: by our own clock, to choose among listeners; `reserve` is exact. */
  async free(listener: string): Promise<number> {
    return guarded(() => this.#redis.zcount(keys.freePorts(listener), '-inf', Date.now()));
  }

  /** How the ports of a listener stand, about: `cooling` ones are nobody's, and not given out yet. */
  async fill(listener: string): Promise<{ held: number; free: number; cooling: number }> {
    const now = Date.now();
    const [held, free, known] = await guarded(() =>
      Promise.all([
        this.#redis.hlen(keys.heldPorts(listener)),
        this.#redis.zcount(keys.freePorts(listener), '-inf', now),
        this.#redis.zcard(keys.freePorts(listener)),
      ]),
    );
    return { held, free, cooling: Math.max(0, known - free) };
  }

  /** Sends into cool-down what (device, epoch) still holds and its lease has no more; how many those were. */
  async release(device: string, epoch: number, listener: string, ports: readonly number[]): Promise<number> {
    if (ports.length === 0) return 0;
    const all = [keys.lease(device), keys.freePorts(listener), keys.heldPorts(listener), keys.portRange(listener)];
    const args = [device, epoch, listener, this.#limits.COOL_DOWN_MS, JSON.stringify(ports)];
    return Number(await runScript(this.#redis, 'release_ports', all, args));
  }

  /**
   * Releases ports whose lease is no more. There are none but after the store's own TTLs have removed leases, because
   * nothing swept for longer than RECORD_SLACK_MS.
   */
  async releaseOrphans(listener: string): Promise<number> {
    let released = 0;
    let cursor = '0';
    do {
      const [next, flat] = await guarded(() => this.#redis.hscan(keys.heldPorts(listener), cursor, 'COUNT', 500));
      cursor = next;
      for (let i = 0; i + 1 < flat.length; i += 2) {
        const [device = '', epoch] = (flat[i + 1] as string).split(' ');
        if ((await guarded(() => this.#redis.exists(keys.lease(device)))) === 1) continue;
        released += await this.release(device, Number(epoch), listener, [Number(flat[i])]);
      }
    } while (cursor !== '0');
    return released;
  }

  /** Announces the exhaustion of a listener, once a minute at most. */
  async announceExhausted(listener: string, device: string): Promise<boolean> {
    const all = [keys.exhausted(listener), keys.outbox];
    return (await runScript(this.#redis, 'exhausted', all, [listener, device, EXHAUSTED_PAUSE_MS])) === 1;
  }
}
