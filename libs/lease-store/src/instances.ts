import { type Limits, LOST_FLOOR_MS } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { keys } from './keys.ts';
import { guarded, runScript } from './scripts.ts';

/** A gap in the sweeps longer than this says that we were away, not the instances. */
const SWEEP_GAP_MS = 3_000;

/** An instance that was found gone, until all its leases are released. */
export interface GoneInstance {
  id: string;
  /** Tells this ending from a later one of the same id. */
  mark: string;
}

/** Judges which instances live. Their own keys are written by service-kit; here they are only read. */
export class Instances {
  readonly #redis: Redis;
  readonly #limits: Limits;

  constructor(redis: Redis, limits: Limits) {
    this.#redis = redis;
    this.#limits = limits;
  }

  /** One sweep over all known instances of the services; the ids newly found gone. Writes `instance.gone`. */
  async judge(services: readonly string[]): Promise<string[]> {
    const seen = new Map<string, string>();
    const [known, ...indexes] = await guarded(() =>
      Promise.all([
        this.#redis.hgetall(keys.knownInstances),
        ...services.map((service) => this.#redis.zrange(`instance:index:${service}`, '0', '-1')),
      ]),
    );
    for (const [id, text] of Object.entries(known)) seen.set(id, (JSON.parse(text) as { service: string }).service);
    for (const [i, ids] of indexes.entries()) for (const id of ids) seen.set(id, services[i] as string);
    const all = [
      ...[keys.sweepLast, keys.sweepAmnesty, keys.sweepFloor, keys.knownInstances, keys.goneInstances],
      ...[keys.outbox, keys.incarnation, keys.goneListeners],
      ...[...seen.keys()].flatMap((id) => [keys.instance(id), keys.goneNotice(id)]),
    ];
    const floor = Math.min(LOST_FLOOR_MS, this.#limits.GRACE_MS);
    const args = [SWEEP_GAP_MS, this.#limits.INSTANCE_TTL_MS, floor, ...[...seen].flat()];
    return (await runScript(this.#redis, 'judge', all, args)) as string[];
  }

  /** Gone instances whose leases wait for their release. */
  async gone(): Promise<GoneInstance[]> {
    const flat = await guarded(() => this.#redis.zrange(keys.goneInstances, '0', '-1', 'WITHSCORES'));
    const gone: GoneInstance[] = [];
    for (let i = 0; i + 1 < flat.length; i += 2) gone.push({ id: flat[i] as string, mark: flat[i + 1] as string });
    return gone;
  }

  /** All leases of that ending are released. */
  async cleaned({ id, mark }: GoneInstance): Promise<void> {
    await runScript(this.#redis, 'cleaned', [keys.goneInstances], [id, mark]);
  }

  /**
   * Listeners whose leases need another place: gone for LISTENER_GONE_MS, winding down, or away, which is gone for less. None
   * while no other listener is live to take them.
   */
  async homeless(): Promise<{ id: string; why: 'listener_gone' | 'wind_down' | 'away' }[]> {
    const [known, flat, time] = await guarded(() =>
      Promise.all([
        this.#redis.hgetall(keys.knownInstances),
        this.#redis.zrange(keys.goneListeners, '0', '-1', 'WITHSCORES'),
        this.#redis.time(),
      ]),
    );
    const now = Number(time[0]) * 1000;
    const homeless: { id: string; why: 'listener_gone' | 'wind_down' | 'away' }[] = [];
    let live = 0;
    for (const [id, text] of Object.entries(known)) {
      const { service, state } = JSON.parse(text) as { service: string; state?: string };
      if (service !== 'tcp-listener') continue;
      if (state === 'winding_down') homeless.push({ id, why: 'wind_down' });
      else if (state === 'live') live += 1;
    }
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const isOver = Number(flat[i + 1]) + this.#limits.LISTENER_GONE_MS <= now;
      homeless.push({ id: flat[i] as string, why: isOver ? 'listener_gone' : 'away' });
    }
    return live === 0 ? [] : homeless;
  }

  /** Every listener that is known, living or not long gone: what runs of a lease may still run where the lease was before. */
  listeners(): Promise<string[]> {
    return this.#known('tcp-listener');
  }

  /** The same of ingresses. */
  ingresses(): Promise<string[]> {
    return this.#known('ws-ingress');
  }

  async #known(service: string): Promise<string[]> {
    const known = await guarded(() => this.#redis.hgetall(keys.knownInstances));
    return Object.entries(known).flatMap(([id, text]) =>
      (JSON.parse(text) as { service: string }).service === service ? [id] : [],
    );
  }

  /** Makes it this owner's work for `ms`; false while it is another's, or was done a moment ago. Of a listener, or another task. */
  async claimRehoming(listener: string, owner: string, ms: number): Promise<boolean> {
    return (await guarded(() => this.#redis.set(keys.rehoming(listener), owner, 'PX', ms, 'NX'))) === 'OK';
  }

  /** The leases of a gone listener have all moved. */
  async rehomed(listener: string): Promise<void> {
    await guarded(() => this.#redis.zrem(keys.goneListeners, listener));
  }

  /** The record that an instance keeps of itself, as text; null when it is gone. */
  async recordOf(id: string): Promise<string | null> {
    return guarded(() => this.#redis.get(keys.instance(id)));
  }
}
