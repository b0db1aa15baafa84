import { randomBytes } from 'node:crypto';
import type { Limits } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { type InstanceLoad, LoadMeter } from './load.ts';
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
  /** How busy it was until the last renewal; absent before the first. */
  load?: InstanceLoad;
}

export const instanceKey = (id: string): string => `instance:${id}`;
/** Written by the sweep that declared the instance gone: the incarnation that it meant, empty when the sweep did not know it. */
const goneKey = (id: string): string => `instance:gone:${id}`;
const STORE_KEY = 'store:incarnation';
const RECOVERY_KEY = 'store:recovery';
/** While the store is being rebuilt it is looked at this often. */
const RECOVERING_RENEW_MS = 500;
export const instanceIndexKey = (service: string): string => `instance:index:${service}`;
/** Every instance whatever its state, by when it must have renewed: for those who look on. */
const ALL_KEY = 'instance:all';
/** One that vanished without a word is still shown for this long. */
const SHOWN_GONE_MS = 10 * 60_000;

/**
 * Keeps `instance:<id>` alive: one key per process, however many devices it serves. Every renewal reads back two things:
 * whether this very start was declared gone, and which life of the store this is.
 *
 *   standing --stood still longer than the TTL, or declared gone--> fenced --onFenced is done--> standing
 *
 * A fenced instance accepts and assigns nothing. An unreachable Redis alone fences nobody.
 */
export class InstanceRegistration {
  readonly record: InstanceRecord;
  readonly #redis: Redis;
  readonly #limits: Limits;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;
  #tickedAt = performance.now();
  #store: string | undefined;
  #fence: Promise<void> | undefined;
  #stopped = false;
  readonly #meter = new LoadMeter();
  /** What it holds now, for those who look on. */
  counts: () => Readonly<Record<string, number>> = () => ({});
  /** Finds out what is lost, and closes it. It may take as long as it needs. */
  onFenced: () => Promise<void> = async () => {};
  /** The store has lost data, is being rebuilt or was, or was away: it may lack what this instance holds. */
  onStoreChanged: () => void = () => {};

  constructor(redis: Redis, limits: Limits, log: Logger, record: Omit<InstanceRecord, 'incarnation' | 'state' | 'started_at'>) {
    this.#redis = redis;
    this.#limits = limits;
    this.#log = log;
    this.record = { ...record, incarnation: randomBytes(8).toString('hex'), state: 'live', started_at: Date.now() };
  }

  async start(): Promise<void> {
    await this.#renew();
    this.#tickedAt = performance.now();
    this.#timer = setInterval(() => this.#tick(), this.#limits.INSTANCE_RENEW_MS);
    this.#redis.on('ready', this.#onReady);
  }

  /**
   * Pending while nothing may be accepted or assigned; undefined while this instance stands. Asked at every entry, it
   * notices a standstill even before our own timer runs.
   */
  get fence(): Promise<void> | undefined {
    if (this.#timer !== undefined && performance.now() - this.#tickedAt > this.#limits.INSTANCE_TTL_MS) this.#tick();
    return this.#fence;
  }

  #tick(): void {
    const stood = performance.now() - this.#tickedAt;
    this.#tickedAt = performance.now();
    if (stood > this.#limits.INSTANCE_TTL_MS) this.#beginFence(`stood still for ${Math.round(stood)} ms`);
    this.record.load = this.#meter.take(this.counts());
    this.#renewSoon(0);
  }

  readonly #onReady = (): void => {
    this.#store = ''; // another server may answer now, which lacks what the former one had
    this.#renewSoon(0);
  };

  #renewSoon(ms: number): void {
    if (this.#stopped) return;
    clearTimeout(this.#soon);
    this.#soon = setTimeout(() => {
      this.#renew().catch((err: Error) => this.#log.debug({ event: 'instance.renew_failed', err: err.message }));
    }, ms);
  }

  /** @param heard The notice that this instance is gone is taken away: it is about to look what it has. */
  async #renew(heard = false): Promise<void> {
    const { id, service, state, incarnation } = this.record;
    const ttl = this.#limits.INSTANCE_TTL_MS;
    const write = this.#redis.multi().set(instanceKey(id), JSON.stringify(this.record), 'PX', ttl);
    if (state === 'live' && this.#fence === undefined) write.zadd(instanceIndexKey(service), Date.now() + ttl, id);
    else write.zrem(instanceIndexKey(service), id);
    write.zadd(ALL_KEY, Date.now() + ttl, id);
    write.get(STORE_KEY).hget(RECOVERY_KEY, 'incarnation').get(goneKey(id));
    if (heard) write.del(goneKey(id));
    const replies = await write.exec();
    const [store, recovery, gone] = (replies ?? []).slice(3).map(([error, value]) => {
      if (error !== null) throw error;
      return value as string | null;
    });
    if (gone === incarnation || gone === '') this.#beginFence('it was declared gone');
    this.#look(store ?? (recovery === null || recovery === undefined ? 'lost' : `recovering ${recovery}`));
  }

  #look(store: string): void {
    const before = this.#store;
    this.#store = store;
    const lives = !store.startsWith('recovering ') && store !== 'lost';
    if (!lives) this.#renewSoon(Math.min(RECOVERING_RENEW_MS, this.#limits.INSTANCE_RENEW_MS));
    if (before === undefined || before === store) return;
    this.#log.info({ event: 'store.changed', before, store });
    this.onStoreChanged();
  }

  #beginFence(why: string): void {
    if (this.#fence !== undefined || this.#stopped) return;
    this.#log.warn({ event: 'instance.fenced', why });
    this.#fence = Promise.resolve()
      .then(() => this.#sitOut())
      .catch((err: Error) => this.#log.error({ event: 'instance.fence_failed', err }))
      .finally(() => {
        this.#fence = undefined;
        this.#log.info({ event: 'instance.stands_again' });
        this.#renewSoon(0);
      });
  }

  /**
   * The key is there again before anything is asserted: without it another sweep would judge this instance gone once more, and
   * release what it has just asserted. The notice goes before, too, so that a later one is still there when this one is done.
   */
  async #sitOut(): Promise<void> {
    if (this.#stopped) return;
    await this.#renew(true).catch((err: Error) => this.#log.debug({ event: 'instance.renew_failed', err: err.message }));
    await this.onFenced();
  }

  /** Leaves the set that the edge and the allocator choose from; the key stays while the process lives. */
  async windDown(): Promise<void> {
    this.record.state = 'winding_down';
    await this.#renew();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#redis.off('ready', this.#onReady);
    const { id, service } = this.record;
    await this.#redis.multi().del(instanceKey(id)).zrem(instanceIndexKey(service), id).zrem(ALL_KEY, id).exec();
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

/** What is known of an instance; null: it has not renewed in time. */
export interface SeenInstance {
  id: string;
  record: InstanceRecord | null;
  /** When its last renewal runs out, or ran out; milliseconds since 1970. */
  until: number;
}

/** Every instance of every service, winding down or gone without a word a short while ago included, in the order of their ids. */
export async function listAllInstances(redis: Redis): Promise<SeenInstance[]> {
  await redis.zremrangebyscore(ALL_KEY, '-inf', Date.now() - SHOWN_GONE_MS);
  const flat = await redis.zrange(ALL_KEY, '0', '-1', 'WITHSCORES');
  const seen: SeenInstance[] = [];
  for (let i = 0; i + 1 < flat.length; i += 2) seen.push({ id: flat[i] as string, record: null, until: Number(flat[i + 1]) });
  const texts = seen.length === 0 ? [] : await redis.mget(seen.map(({ id }) => instanceKey(id)));
  for (const [i, one] of seen.entries()) {
    const text = texts[i];
    if (typeof text === 'string') one.record = JSON.parse(text) as InstanceRecord;
  }
  return seen.sort((a, b) => (a.id < b.id ? -1 : 1));
}
