import { randomBytes } from 'node:crypto';
import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import type { Logger } from './log.ts';

/** What an instance says about itself, as edge and allocator read it. */
export interface InstanceRecord {
  id: string;
  service: string;
  /** Random per start of the process. */
  incarnation: string;
  /** host:port of its own HTTP server; empty when it has none. */
  address: string;
  state: 'live' | 'winding_down';
  started_at: number;
  /** tcp-listener: its range of public ports. */
  ports?: readonly [number, number];
  /** tcp-listener: where http endpoints' ports bind. */
  host?: string;
}

export const instanceKey = (id: string): string => `instance:${id}`;
export const instanceIndexKey = (service: string): string => `instance:index:${service}`;

/**
 * Keeps `instance:<id>` alive: one key per process, however many devices it serves. An instance whose loop stood
 * still longer than its TTL hears of it by `onLapsed`, before it renews.
 */
export class InstanceRegistration {
  readonly record: InstanceRecord;
  readonly #redis: Redis;
  readonly #limits: Limits;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #renewedAt = Date.now();
  onLapsed: () => void = () => {};

  constructor(redis: Redis, limits: Limits, log: Logger, record: Omit<InstanceRecord, 'incarnation' | 'state' | 'started_at'>) {
    this.#redis = redis;
    this.#limits = limits;
    this.#log = log;
    this.record = { ...record, incarnation: randomBytes(8).toString('hex'), state: 'live', started_at: Date.now() };
  }

  async start(): Promise<void> {
    await this.#renew();
    this.#timer = setInterval(() => {
      const stood = Date.now() - this.#renewedAt;
      if (stood > this.#limits.INSTANCE_TTL_MS) this.onLapsed();
      // An unreachable Redis fences nobody: the next round tries again.
      this.#renew().catch((err: Error) => this.#log.debug({ event: 'instance.renew_failed', err: err.message }));
    }, this.#limits.INSTANCE_RENEW_MS);
  }

  async #renew(): Promise<void> {
    const { id, service, state } = this.record;
    const ttl = this.#limits.INSTANCE_TTL_MS;
    const write = this.#redis.multi().set(instanceKey(id), JSON.stringify(this.record), 'PX', ttl);
    if (state === 'live') write.zadd(instanceIndexKey(service), Date.now() + ttl, id);
    else write.zrem(instanceIndexKey(service), id);
    await write.exec();
    this.#renewedAt = Date.now();
  }

  /** Leaves the set that the edge and the allocator choose from; the key stays while the process lives. */
  async windDown(): Promise<void> {
    this.record.state = 'winding_down';
    await this.#renew();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    const { id, service } = this.record;
    await this.#redis.multi().del(instanceKey(id)).zrem(instanceIndexKey(service), id).exec();
  }
}

/** The live instances of a service, in the order of their ids. */
export async function listInstances(redis: Redis, service: string): Promise<InstanceRecord[]> {
  const ids = await redis.zrangebyscore(instanceIndexKey(service), Date.now(), '+inf');
  if (ids.length === 0) return [];
  const texts = await redis.mget(ids.map(instanceKey));
  const records = texts.flatMap((text) => (text === null ? [] : [JSON.parse(text) as InstanceRecord]));
  return records.sort((a, b) => (a.id < b.id ? -1 : 1));
}
