import { CulvertError } from '@culvert/contracts';
import type { KeptPosition } from '@culvert/lease-store';
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';

const BUCKET = 'CULVERT_REGISTRY';
const STREAM = `KV_${BUCKET}`;
const SUBJECTS = `$KV.${BUCKET}.`;
/** Who is overtaken by another writer of the same key reads again, this often. */
const TRIES = 8;
/** Whoever reads on hears the next entry within this time, or fails. */
const READ_MS = 10_000;

/** What an entry is to become: its JSON, gone, or what it is. */
export type Present = { json: string } | 'gone' | 'as_it_is';

/** What became of a key: its JSON, or nothing since then. */
export type Change = { key: string } & ({ json: string } | { removedAt: number });

/** The JetStream bucket in which the operators' data outlive the store. */
export class KeptBucket {
  readonly #nc: NatsConnection;
  #bucket: Promise<Bucket> | undefined;

  constructor(nc: NatsConnection) {
    this.#nc = nc;
  }

  /**
   * Writes what `present` says at that moment, by compare-and-set, so that the last write is never the older one. `known` is
   * the JSON that stands there. Resolves when it is acknowledged, with its place; undefined when nothing was written.
   * @throws CulvertError `unavailable`
   */
  async write(key: string, present: (known: string | undefined) => Promise<Present>): Promise<KeptPosition | undefined> {
    try {
      const { kv: bucket, stream } = await this.#open();
      for (let tries = 0; ; tries++) {
        const entry = await bucket.get(key);
        const known = entry?.operation === 'PUT' ? entry.string() : undefined;
        const wanted = await present(known);
        if (wanted === 'as_it_is' || (wanted === 'gone' && known === undefined)) return undefined;
        try {
          if (wanted === 'gone') {
            await bucket.delete(key, { previousSeq: entry?.revision ?? 0 }); // its place is not told; who reads it again does no harm
            return undefined;
          }
          const sequence = await (entry === null
            ? bucket.create(key, wanted.json)
            : bucket.update(key, wanted.json, entry.revision));
          return { stream, sequence };
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
    const { kv: bucket } = await this.#open();
    for await (const { key, operation, value } of await bucket.history({ key: `${prefix}>` })) {
      if (operation === 'PUT') yield { key: key.slice(prefix.length), json: new TextDecoder().decode(value) };
    }
  }

  async get(key: string): Promise<string | undefined> {
    const { kv } = await this.#open();
    const entry = await kv.get(key);
    return entry?.operation === 'PUT' ? entry.string() : undefined;
  }

  async put(key: string, text: string): Promise<void> {
    const { kv } = await this.#open();
    await kv.put(key, text);
  }

  /** Where the bucket stands now. */
  async position(): Promise<KeptPosition> {
    await this.#open();
    try {
      const { created, state } = await (await jetstreamManager(this.#nc)).streams.info(STREAM);
      return { stream: created, sequence: state.last_seq };
    } catch (error) {
      this.#bucket = undefined; // it may have gone with all of NATS
      throw error;
    }
  }

  /** What has changed after that place and up to the second, each key once; everything when the place is of another bucket. */
  async *changes(since: KeptPosition | undefined, until: KeptPosition): AsyncGenerator<Change> {
    const known = since?.stream === until.stream && since.sequence <= until.sequence ? since.sequence : 0;
    if (known === until.sequence) return;
    const from = { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: known + 1 };
    const consumer = await jetstream(this.#nc).consumers.get(STREAM, from);
    if ((await consumer.info()).num_pending === 0) return;
    const messages = await consumer.consume();
    let silent = false;
    const deadline = setTimeout(() => {
      silent = true;
      void messages.close();
    }, READ_MS);
    try {
      for await (const { subject, headers, seq, time, info, data } of messages) {
        deadline.refresh();
        const key = subject.slice(SUBJECTS.length);
        const removed = headers?.get('KV-Operation') ?? '';
        yield removed === '' ? { key, json: new TextDecoder().decode(data) } : { key, removedAt: time.getTime() };
        if (info.pending === 0 || seq >= until.sequence) return;
      }
      if (silent) throw new CulvertError('unavailable', `the registry was silent for ${READ_MS} ms`);
    } finally {
      clearTimeout(deadline);
      await messages.close();
    }
  }

  #open(): Promise<Bucket> {
    this.#bucket ??= open(this.#nc).catch((error: unknown) => {
      this.#bucket = undefined;
      throw error;
    });
    return this.#bucket;
  }
}

interface Bucket {
  kv: KV;
  /** Which one it is. */
  stream: string;
}

async function open(nc: NatsConnection): Promise<Bucket> {
  const kv = await new Kvm(nc).create(BUCKET, { history: 1 });
  const { created } = await (await jetstreamManager(nc)).streams.info(STREAM);
  return { kv, stream: created };
}
