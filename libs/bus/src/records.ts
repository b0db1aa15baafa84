import { ROLES } from '@culvert/contracts';
import Type from 'typebox';
import { Millis, TokenDigest } from './schema.ts';

const Name = Type.String({ pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$' });

/**
 * The collections of operators' data: each a set of records by id, in the store and outside of it, so that they outlive it.
 * A new collection is a line here and needs nothing else; its records are in Redis as `kept:<collection>:<id>` (a hash:
 * `value` is the JSON, `revision`). Fields may be added as optional ones; a record that is kept must go on fitting.
 */
export const RECORDS = {
  /** Id: the operator's name. */
  operator: Type.Object({
    role: Type.Enum(ROLES),
    /** Digests of its tokens; several while one follows the other. */
    tokens: Type.Array(Type.Object({ digest: TokenDigest, created_at: Millis }), { maxItems: 4 }),
    created_at: Millis,
    created_by: Name,
  }),
  /** A login of the dashboard. Id: digest of its cookie. Good only while the token that opened it is. */
  login: Type.Object({ operator: Name, token_digest: TokenDigest, created_at: Millis }),
  /** Where events are sent to. Id: `wh` and 16 hex digits. The secret signs: it is kept as it is. */
  webhook: Type.Object({
    url: Type.String({ maxLength: 2_000 }),
    secret: Type.String({ maxLength: 128 }),
    types: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 32 }),
    devices: Type.Array(Name, { maxItems: 100 }),
    state: Type.Union([
      Type.Object({ kind: Type.Literal('on') }),
      Type.Object({ kind: Type.Literal('disabled'), at: Millis, reason: Type.String({ maxLength: 512 }) }),
    ]),
    /** Asked for by an operator and not finished: up to that sequence of the stream, from that time on. */
    replay: Type.Optional(
      Type.Object({
        id: Type.String({ maxLength: 16 }),
        stream: Type.Enum(['dead', 'events'] as const),
        since: Millis,
        until: Millis,
      }),
    ),
    created_at: Millis,
    created_by: Name,
  }),
} as const satisfies Record<string, Type.TObject>;

export type Collection = keyof typeof RECORDS;
export const COLLECTIONS = Object.keys(RECORDS) as Collection[];
export type RecordValue<C extends Collection> = Type.Static<(typeof RECORDS)[C]>;

/** A record as it is kept. */
export interface KeptRecord<C extends Collection> {
  id: string;
  value: RecordValue<C>;
  /** Grows with every change; what `expected` is compared with. */
  revision: number;
  /** When it goes by itself; milliseconds since 1970 by the store's clock. */
  expires_at: number | null;
}

/** Parts of `[A-Za-z0-9_=-]` between single dots: a name, a host name, a digest, or several of them in a row. */
export const RecordId = Type.String({ pattern: '^[A-Za-z0-9_=-]+(?:\\.[A-Za-z0-9_=-]+)*$', maxLength: 253 });
/** A record's JSON is at most this long. */
export const RECORD_BYTES = 16 * 1024;
