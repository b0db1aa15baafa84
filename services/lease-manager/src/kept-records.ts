import {
  COLLECTIONS,
  type Collection,
  type CommandReply,
  type CommandRequest,
  EDGE_COLLECTIONS,
  faultOfRecord,
  RECORD_BYTES,
  withoutKeys,
} from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { LeaseStore, RecordRef, StoredRecord } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import type { Change, KeptBucket } from './kept-bucket.ts';
import { fitPage } from './page.ts';
import { inParallel } from './parallel.ts';

const RECORDS = 'kept.';
const PAGE = 100;
/** Looked at in one round. */
const BATCH = 100;

type Entry = Pick<StoredRecord, 'json' | 'revision' | 'expiresAt'>;
type Granted<N extends 'record.get' | 'record.list' | 'record.put' | 'record.delete'> = Extract<CommandReply<N>, { ok: true }>;

/**
 * The collections of operators' data. The store decides, its copy in JetStream is acknowledged before the answer. What
 * stays uncopied all the same (this process ended in between, NATS was away) is copied by the next round of `look`.
 */
export class KeptRecords {
  readonly #bucket: KeptBucket;
  readonly #store: LeaseStore;
  readonly #log: Logger;
  readonly #onExpired: (ref: RecordRef) => void;
  #looking = false;

  /** `onExpired` is told of records that have gone by themselves; by every lease-manager, some may tell it more than once. */
  constructor(bucket: KeptBucket, store: LeaseStore, log: Logger, onExpired: (ref: RecordRef) => void = () => {}) {
    this.#onExpired = onExpired;
    this.#bucket = bucket;
    this.#store = store;
    this.#log = log;
  }

  async get({ collection, id }: CommandRequest<'record.get'>): Promise<Granted<'record.get'>> {
    const record = await this.#store.kept.get(collection, id);
    return { ok: true, record: record && shown(collection, record) };
  }

  async list({ collection, cursor, limit, prefix }: CommandRequest<'record.list'>): Promise<Granted<'record.list'>> {
    const page = await this.#store.kept.list(collection, { cursor, limit: limit ?? PAGE, prefix });
    const all = page.records.map((record) => shown(collection, record));
    const { items, cursor: next } = fitPage(all, page.cursor, ({ id }) => id);
    return { ok: true, records: items, cursor: next };
  }

  /** @throws CulvertError `bad_request`, `already_exists`, `conflict`, `unavailable` */
  async put({ collection, id, value, expected, ttl_ms }: CommandRequest<'record.put'>): Promise<Granted<'record.put'>> {
    const fault = faultOfRecord(collection, value);
    if (fault !== undefined) throw new CulvertError('bad_request', `record ${fault}`);
    const json = JSON.stringify(value);
    if (Buffer.byteLength(json) > RECORD_BYTES) {
      throw new CulvertError('too_large', `the record has ${Buffer.byteLength(json)} bytes; expected at most ${RECORD_BYTES}`);
    }
    const put = await this.#store.kept.put({ collection, id }, json, { expected, ttlMs: ttl_ms });
    if (put.verdict === 'changed') throw conflict({ collection, id }, expected);
    try {
      await this.#keep({ collection, id });
    } catch (error) {
      // As if nobody had asked, where that can be: who tries again is not told that it exists.
      if (expected === 0) await this.#store.kept.delete({ collection, id }, put.revision).catch(() => {});
      throw error;
    } finally {
      await this.#announce({ collection, id });
    }
    return { ok: true, revision: put.revision, expires_at: put.expiresAt };
  }

  async delete({ collection, id, expected }: CommandRequest<'record.delete'>): Promise<Granted<'record.delete'>> {
    const verdict = await this.#store.kept.delete({ collection, id }, expected);
    if (verdict === 'changed') throw conflict({ collection, id }, expected);
    await this.#announce({ collection, id }); // first: what was withdrawn is withdrawn, kept elsewhere or not
    await this.#keep({ collection, id });
    return { ok: true, deleted: verdict === 'ok' };
  }

  async #announce(ref: RecordRef): Promise<void> {
    if (EDGE_COLLECTIONS.has(ref.collection)) await this.#store.kept.announce(ref).catch(() => {});
  }

  /** All that is kept, for an empty store. */
  async all(): Promise<(StoredRecord & { collection: string })[]> {
    const records: (StoredRecord & { collection: string })[] = [];
    for await (const { key, json } of this.#bucket.entries(RECORDS)) {
      records.push({ ...refOf(key), ...(JSON.parse(json) as Entry) });
    }
    return records;
  }

  /** The record that a change of the bucket is about, or what was removed; undefined when it is about something else. */
  recordOf(change: Change): (StoredRecord & RecordRef) | (RecordRef & { removedAt: number }) | undefined {
    if (!change.key.startsWith(RECORDS)) return undefined;
    const ref = refOf(change.key.slice(RECORDS.length));
    return 'json' in change ? { ...ref, ...(JSON.parse(change.json) as Entry) } : { ...ref, removedAt: change.removedAt };
  }

  /** Edges hear that these are not what they were. */
  async announce(refs: readonly RecordRef[]): Promise<void> {
    await inParallel(refs, (ref) => this.#announce(ref));
  }

  /** Makes the bucket the mirror of the store as it is. */
  async mirror(): Promise<void> {
    for (const collection of COLLECTIONS) {
      let cursor: string | undefined;
      do {
        const page = await this.#store.kept.list(collection, { cursor, limit: BATCH });
        await inParallel(page.records, ({ id }) => this.#keep({ collection, id }));
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined);
    }
  }

  /** Starts a round, unless one runs: drops what has expired, copies what is not copied yet. */
  look(): void {
    if (this.#looking) return;
    this.#looking = true;
    void this.#round().finally(() => {
      this.#looking = false;
    });
  }

  async #round(): Promise<void> {
    try {
      for (const ref of await this.#store.kept.expired(BATCH)) {
        if ((await this.#store.kept.delete(ref, 'expired')) === 'missing') this.#onExpired(ref);
      }
      for (const ref of await this.#store.kept.unmirrored(BATCH)) await this.#keep(ref);
    } catch (err) {
      this.#log.debug({ event: 'records.not_mirrored', err }); // the next round tries again
    }
  }

  /** Copies the record as it is now, its absence too. @throws CulvertError `unavailable` */
  async #keep(ref: RecordRef): Promise<void> {
    const { collection, id } = ref;
    const behind = await this.#store.kept.behind(ref);
    const reached = await this.#bucket.write(`${RECORDS}${collection}.${id}`, async (known) => {
      const present = await this.#store.kept.get(collection, id);
      if (present === null) return 'gone';
      const { json, revision, expiresAt } = present;
      const entry: Entry = { json, revision, expiresAt };
      const text = JSON.stringify(entry);
      return known === text ? 'as_it_is' : { json: text };
    });
    if (reached !== undefined) await this.#store.kept.reached(reached).catch(() => {}); // it is read once more then, in vain
    if (behind !== undefined) await this.#store.kept.mirrored(ref, behind);
  }
}

const refOf = (key: string): RecordRef => {
  const dot = key.indexOf('.');
  return { collection: key.slice(0, dot), id: key.slice(dot + 1) };
};

const shown = (collection: Collection, { id, json, revision, expiresAt }: StoredRecord) => ({
  ...{ id, revision, expires_at: expiresAt },
  value: withoutKeys(collection, JSON.parse(json)),
});

function conflict({ collection, id }: { collection: Collection; id: string }, expected: number | undefined): CulvertError {
  return expected === 0
    ? new CulvertError('already_exists', `there is a ${collection} ${id} already`)
    : new CulvertError('conflict', `${collection} ${id} was changed meanwhile; read it again`);
}
