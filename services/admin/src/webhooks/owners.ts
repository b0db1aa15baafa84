import type { KeptRecord } from '@culvert/bus';
import { type KV, Kvm } from '@nats-io/kv';
import { DeliveryLife } from './delivery-life.ts';
import type { OwnersDeps } from './owners-deps.ts';

/** Which instance delivers which webhook: a key each, which goes by itself when its owner is silent. */
export const OWNERS_BUCKET = 'CULVERT_WEBHOOK_OWNERS';
const OWNED_MS = 15_000;
/** Webhooks and owners are looked at this often. */
const LOOK_MS = 2_000;
/** Who has many lets the others choose first. */
const MODESTY_MS = 50;
const MOST_MODESTY_MS = 1_000;

interface Owned {
  life: DeliveryLife;
  revision: number;
  renewedAt: number;
}

/**
 * Shares the webhooks among the instances of admin: each is delivered by one at a time, so that the order of a device's
 * events holds. An owner that cannot renew its claim for OWNED_MS stops delivering before another one may begin.
 */
export class WebhookOwners {
  readonly #deps: OwnersDeps;
  readonly #owned = new Map<string, Owned>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();
  #stopped = false;
  #failing = false;

  constructor(deps: OwnersDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#again(0);
  }

  get size(): number {
    return this.#owned.size;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#looking;
    await Promise.all([...this.#owned.values()].map(({ life }) => life.stop()));
    const kv = await this.#open().catch(() => undefined);
    await Promise.all([...this.#owned.keys()].map((id) => kv?.delete(id).catch(() => {})));
    this.#owned.clear();
  }

  #again(ms: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().then(() => this.#again(LOOK_MS));
    }, ms);
  }

  async #look(): Promise<void> {
    const { records, log } = this.#deps;
    try {
      const kv = await this.#open();
      await Promise.all([...this.#owned].map(([id, mine]) => this.#renew(kv, id, mine)));
      const seen = new Set<string>();
      for await (const record of records.all('webhook')) {
        seen.add(record.id);
        await this.#attend(kv, record);
      }
      for (const [id] of this.#owned) if (!seen.has(id)) await this.#drop(kv, id);
      this.#failing = false;
    } catch (err) {
      if (!this.#failing) log.warn({ event: 'webhooks.not_seen', err });
      this.#failing = true;
    }
    for (const [id, { life, renewedAt }] of this.#owned) {
      if (performance.now() - renewedAt < OWNED_MS - 2 * LOOK_MS) continue;
      this.#owned.delete(id);
      await life.stop();
    }
  }

  async #attend(kv: KV, record: KeptRecord<'webhook'>): Promise<void> {
    const { id } = record;
    const mine = this.#owned.get(id);
    const askedAt = performance.now();
    if (mine === undefined) {
      if (record.value.state.kind !== 'on' && record.value.replay === undefined) return;
      await new Promise((done) => setTimeout(done, Math.min(this.#owned.size * MODESTY_MS, MOST_MODESTY_MS)));
      const revision = await kv.create(id, this.#deps.owner).catch(() => undefined);
      if (revision === undefined || this.#stopped) return; // another one has it
      const life = new DeliveryLife(record, this.#deps);
      this.#owned.set(id, { life, revision, renewedAt: askedAt });
      this.#deps.log.info({ event: 'webhook.owned', webhook: id });
      return;
    }
    mine.life.changed(record);
  }

  /** Before all else: it needs NATS only. What fails is tried again at the next look, until the claim is over. */
  async #renew(kv: KV, id: string, mine: Owned): Promise<void> {
    const askedAt = performance.now();
    const revision = await kv.update(id, this.#deps.owner, mine.revision).catch(() => undefined);
    if (revision !== undefined) Object.assign(mine, { revision, renewedAt: askedAt });
  }

  async #drop(kv: KV, id: string): Promise<void> {
    const mine = this.#owned.get(id);
    this.#owned.delete(id);
    await mine?.life.stop();
    await kv.delete(id).catch(() => {});
  }

  #open(): Promise<KV> {
    return new Kvm(this.#deps.nc).create(OWNERS_BUCKET, { history: 1, ttl: OWNED_MS });
  }
}
