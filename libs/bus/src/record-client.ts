import { CulvertError } from '@culvert/contracts';
import { Compile, type Validator } from 'typebox/compile';
import { type Bus, errorOfRefusal } from './bus.ts';
import { type Collection, type KeptRecord, RECORDS, type RecordValue } from './records.ts';

export interface PutOptions {
  /** Revision that the record must have; 0: there must be none. Default: whatever is there is replaced. */
  expected?: number;
  /** It goes by itself after this, in milliseconds. Default: it stays. */
  ttlMs?: number;
}

export interface ListOptions {
  /** `cursor` of the page before. */
  cursor?: string | undefined;
  /** 1 to 1,000; default 100. */
  limit?: number;
  /** Only ids that begin with it. */
  prefix?: string;
}

const compiled = new Map<Collection, Validator>();

/** What is wrong with a value for this collection; undefined when nothing is. */
export function faultOfRecord(collection: Collection, value: unknown): string | undefined {
  let check = compiled.get(collection);
  if (check === undefined) {
    check = Compile(RECORDS[collection]);
    compiled.set(collection, check);
  }
  if (check.Check(value)) return undefined;
  const first = check.Errors(value)[0];
  return `${collection}${first?.instancePath ?? ''} ${first?.message ?? 'does not fit its schema'}`;
}

/**
 * Operators' data, typed, by way of lease-manager. A change is acknowledged once it is kept outside of the store, too.
 * Every call throws CulvertError: `unavailable` when no lease-manager answers, `recovering` while the store is rebuilt.
 */
export class Records {
  readonly #bus: Pick<Bus, 'request'>;

  constructor(bus: Pick<Bus, 'request'>) {
    this.#bus = bus;
  }

  async get<C extends Collection>(collection: C, id: string): Promise<KeptRecord<C> | null> {
    const reply = await this.#answered(this.#bus.request('record.get', { collection, id }));
    if (!reply.ok) throw errorOfRefusal(reply);
    return reply.record && checked(collection, reply.record);
  }

  /** In the order of the ids. */
  async list<C extends Collection>(
    collection: C,
    { cursor, limit, prefix }: ListOptions = {},
  ): Promise<{ records: KeptRecord<C>[]; cursor: string | null }> {
    const page = {
      ...(cursor === undefined ? {} : { cursor }),
      ...(limit === undefined ? {} : { limit }),
      ...(prefix === undefined ? {} : { prefix }),
    };
    const reply = await this.#answered(this.#bus.request('record.list', { collection, ...page }));
    if (!reply.ok) throw errorOfRefusal(reply);
    return { records: reply.records.map((record) => checked(collection, record)), cursor: reply.cursor };
  }

  /** Every record, page by page. */
  async *all<C extends Collection>(collection: C, prefix?: string): AsyncGenerator<KeptRecord<C>> {
    let cursor: string | undefined;
    do {
      const page = await this.list(collection, { cursor, limit: 500, ...(prefix === undefined ? {} : { prefix }) });
      yield* page.records;
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
  }

  /** @throws CulvertError `conflict` when `expected` is not what is there, `already_exists` when nothing was expected. */
  async put<C extends Collection>(
    collection: C,
    id: string,
    value: RecordValue<C>,
    { expected, ttlMs }: PutOptions = {},
  ): Promise<KeptRecord<C>> {
    const fault = faultOfRecord(collection, value);
    if (fault !== undefined) throw new CulvertError('internal', `record ${fault}`);
    const options = { ...(expected === undefined ? {} : { expected }), ...(ttlMs === undefined ? {} : { ttl_ms: ttlMs }) };
    const reply = await this.#answered(this.#bus.request('record.put', { collection, id, value, ...options }));
    if (!reply.ok) throw errorOfRefusal(reply);
    return { id, value, revision: reply.revision, expires_at: reply.expires_at };
  }

  /** False when there was none. @throws CulvertError `conflict` when `expected` is not what is there. */
  async delete(collection: Collection, id: string, expected?: number): Promise<boolean> {
    const request = { collection, id, ...(expected === undefined ? {} : { expected }) };
    const reply = await this.#answered(this.#bus.request('record.delete', request));
    if (!reply.ok) throw errorOfRefusal(reply);
    return reply.deleted;
  }

  /** Thrown by the bus itself, `not_found` means that no lease-manager answers, not that there is no such record. */
  async #answered<T>(reply: Promise<T>): Promise<T> {
    try {
      return await reply;
    } catch (cause) {
      if (cause instanceof CulvertError && cause.code === 'internal') throw cause;
      throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
    }
  }
}

function checked<C extends Collection>(collection: C, record: Omit<KeptRecord<C>, 'value'> & { value: unknown }): KeptRecord<C> {
  const fault = faultOfRecord(collection, record.value);
  if (fault !== undefined) throw new CulvertError('internal', `record ${record.id}: ${fault}`);
  return record as KeptRecord<C>;
}
