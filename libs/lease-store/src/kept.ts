import type { Redis } from 'ioredis';
import { keptKeys, keys, ROUTE_CHANNEL } from './keys.ts';
import { guarded, readAlive, runScript, runVerdict } from './scripts.ts';

/** A record of the operators' data as the store has it. */
export interface StoredRecord {
  id: string;
  /** JSON text. */
  json: string;
  revision: number;
  /** When it goes by itself, milliseconds by the store's clock; null: never. */
  expiresAt: number | null;
}

/** A place in the stream in which copies are kept. */
export interface KeptPosition {
  /** Which stream: when it was made, as it says. */
  stream: string;
  sequence: number;
}

/** Names one record. */
export interface RecordRef {
  collection: string;
  id: string;
}

/**
 * Operators' data in the store: collections of records by id. What a record says is not the store's business. Every change
 * is noted as unmirrored, until whoever keeps the copy outside of the store says that it has it.
 */
export class Kept {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  async get(collection: string, id: string): Promise<StoredRecord | null> {
    const { values } = await readAlive(this.#redis, (reads) => reads.hgetall(keys.kept(collection, id)));
    return recordOf(id, values[0] as Record<string, string>);
  }

  /** In the order of the ids, after `cursor`, of those that begin with `prefix`. */
  async list(
    collection: string,
    { cursor = '', limit, prefix = '' }: { cursor?: string | undefined; limit: number; prefix?: string | undefined },
  ): Promise<{ records: StoredRecord[]; cursor: string | null }> {
    const from = cursor > prefix ? `(${cursor}` : prefix === '' ? '-' : `[${prefix}`;
    const to = prefix === '' ? '+' : `(${prefix}\u{7f}`;
    const index = keys.keptIndex(collection);
    const { values } = await readAlive(this.#redis, (reads) => reads.zrangebylex(index, from, to, 'LIMIT', 0, limit));
    const ids = values[0] as string[];
    if (ids.length === 0) return { records: [], cursor: null };
    const read = await readAlive(this.#redis, (reads) => {
      for (const id of ids) reads.hgetall(keys.kept(collection, id));
      return reads;
    });
    const records = ids.map((id, i) => recordOf(id, read.values[i] as Record<string, string>));
    return { records: records.filter((record) => record !== null), cursor: ids.length < limit ? null : (ids.at(-1) ?? null) };
  }

  /** `expected` is the revision it must have, 0 for none; undefined takes whatever is there. */
  async put(
    { collection, id }: RecordRef,
    json: string,
    { expected, ttlMs }: { expected?: number | undefined; ttlMs?: number | undefined },
  ): Promise<{ verdict: 'ok'; revision: number; expiresAt: number | null } | { verdict: 'changed'; revision: number }> {
    const all = [...keptKeys(collection, id), keys.incarnation];
    const [verdict, revision, expires] = await runVerdict(this.#redis, 'kept_put', all, [
      ...[collection, id, json, expected ?? '', ttlMs ?? ''],
    ]);
    if (verdict === 'changed') return { verdict, revision: Number(revision) };
    return { verdict: 'ok', revision: Number(revision), expiresAt: expires === '' ? null : Number(expires) };
  }

  /** `expired`: only what has gone by itself. */
  async delete({ collection, id }: RecordRef, expected?: number | 'expired'): Promise<'ok' | 'missing' | 'changed'> {
    const all = [...keptKeys(collection, id), keys.incarnation];
    const [verdict] = await runVerdict(this.#redis, 'kept_delete', all, [collection, id, expected ?? '']);
    return verdict as 'ok' | 'missing' | 'changed';
  }

  /** Tells the edges that a record is not what it was; one that does not hear it finds out by the age of what it knows. */
  async announce({ collection, id }: RecordRef): Promise<void> {
    await guarded(() => this.#redis.publish(ROUTE_CHANNEL, `${collection} ${id}`));
  }

  /** Records whose end has come by the clock of this process, a few seconds late so that the store has dropped them. */
  async expired(limit: number): Promise<RecordRef[]> {
    const until = Date.now() - 2_000;
    return refsOf(await guarded(() => this.#redis.zrangebyscore(keys.keptDue, 0, until, 'LIMIT', 0, limit)));
  }

  /** Records whose mirror is behind. */
  async unmirrored(limit: number): Promise<RecordRef[]> {
    return refsOf(await guarded(() => this.#redis.zrange(keys.unmirrored, '0', String(limit - 1))));
  }

  /** The revision of the change that is not mirrored yet; undefined when the mirror is not behind. Read it before the record. */
  async behind({ collection, id }: RecordRef): Promise<string | undefined> {
    return (await guarded(() => this.#redis.zscore(keys.unmirrored, `${collection} ${id}`))) ?? undefined;
  }

  /** The change of that revision, and all before it, are mirrored. */
  async mirrored({ collection, id }: RecordRef, revision: string): Promise<void> {
    await runScript(this.#redis, 'kept_mirrored', [keys.unmirrored], [collection, id, revision]);
  }

  /**
   * Puts records back into a store that is rebuilt, or that may be behind its copies; answers those that it had not. Nothing
   * happens in one that is neither.
   */
  async load(records: readonly (StoredRecord & { collection: string })[]): Promise<RecordRef[]> {
    const verdicts = await Promise.all(
      records.map(({ collection, id, json, revision, expiresAt }) => {
        const all = [...keptKeys(collection, id), keys.recovery];
        return runVerdict(this.#redis, 'kept_load', all, [collection, id, json, revision, expiresAt ?? '']);
      }),
    );
    return records.filter((_, i) => verdicts[i]?.[0] === 'ok');
  }

  /** Removes a record whose copy was removed at that time from a store that may be behind; false when that is not so. */
  async drop({ collection, id }: RecordRef, removedAt: number): Promise<boolean> {
    const [verdict] = await runVerdict(this.#redis, 'kept_drop', keptKeys(collection, id), [collection, id, removedAt]);
    return verdict === 'ok';
  }

  /** How far the stream of the copies is known here; undefined in a store that never knew one. */
  async position(): Promise<KeptPosition | undefined> {
    const text = await guarded(() => this.#redis.get(keys.keptPosition));
    const [stream = '', sequence = ''] = text?.split(' ') ?? [];
    return text === null ? undefined : { stream, sequence: Number(sequence) };
  }

  /** All that stands in the stream up to there was written here before. */
  async reached({ stream, sequence }: KeptPosition): Promise<void> {
    await runScript(this.#redis, 'kept_reached', [keys.keptPosition], [stream, sequence]);
  }
}

function recordOf(id: string, hash: Record<string, string>): StoredRecord | null {
  const { value, revision, expires_at } = hash;
  if (value === undefined) return null;
  return { id, json: value, revision: Number(revision), expiresAt: expires_at === undefined ? null : Number(expires_at) };
}

function refsOf(members: string[]): RecordRef[] {
  return members.map((member) => {
    const space = member.indexOf(' ');
    return { collection: member.slice(0, space), id: member.slice(space + 1) };
  });
}
