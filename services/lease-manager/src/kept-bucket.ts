import { CulvertError } from '@culvert/contracts';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';

const BUCKET = 'CULVERT_REGISTRY';
/** Who is overtaken by another writer of the same key reads again, this often. */
const TRIES = 8;

/** What an entry is to become: its JSON, gone, or what it is. */
export type Present = { json: string } | 'gone' | 'as_it_is';

/** The JetStream bucket in which the operators' data outlive the store. */
export class KeptBucket {
  readonly #nc: NatsConnection;
  #bucket: Promise<KV> | undefined;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
  }

  /**
   * Writes what `present` says at that moment, by compare-and-set, so that the last write is never the older one. `known` is
   * the JSON that stands there. Resolves when it is acknowledged. @throws CulvertError `unavailable`
   */
  async write(key: string, present: (known: string | undefined) => Promise<Present>): Promise<void> {
    try {
      const bucket = await this.#open();
      for (let tries = 0; ; tries++) {
        const entry = await bucket.get(key);
        const known = entry?.operation === 'PUT' ? entry.string() : undefined;
        const wanted = await present(known);
        if (wanted === 'as_it_is' || (wanted === 'gone' && known === undefined)) return;
        try {
          if (wanted === 'gone') await bucket.delete(key, { previousSeq: entry?.revision ?? 0 });
          else if (entry === null) await bucket.create(key, wanted.json);
          else await bucket.update(key, wanted.json, entry.revision);
          return;
        } catch (error) {
          if (tries + 1 >= TRIES) throw error;
        }
      }
    } catch (cause) {
      if (cause instanceof CulvertError) throw cause;
      this.#bucket = undefined;
      const text = `the registry cannot be kept: ${(cause as Error).message}`;
      throw new CulvertError('unavailable', text, { cause, retryAfterMs: 2_000 });
    }
  }

  /** Every key that begins with the prefix, which ends in a dot, without it; and its JSON. */
  async *entries(prefix: string): AsyncGenerator<{ key: string; json: string }> {
    const bucket = await this.#open();
    for await (const { key, operation, value } of await bucket.history({ key: `${prefix}>` })) {
      if (operation === 'PUT') yield { key: key.slice(prefix.length), json: new TextDecoder().decode(value) };
    }
  }

  async get(key: string): Promise<string | undefined> {
    const entry = await (await this.#open()).get(key);
    return entry?.operation === 'PUT' ? entry.string() : undefined;
  }

  async put(key: string, text: string): Promise<void> {
    await (await this.#open()).put(key, text);
  }

  #open(): Promise<KV> {
    this.#bucket ??= new Kvm(this.#nc).create(BUCKET, { history: 1 }).catch((error: unknown) => {
      this.#bucket = undefined;
      throw error;
    });
    return this.#bucket;
  }
}
