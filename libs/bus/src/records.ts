import { ROLES } from '@culvert/contracts';
import Type from 'typebox';
import { Millis, PortNumber, TokenDigest } from './schema.ts';

const Name = Type.String({ pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$' });

/** What the operators allow a device; what is absent is bounded by the limits alone. */
export const PolicySchema = Type.Object({
  /** Visitors at once. */
  visitors: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000 })),
  /** New visitors a second, on average; a second's worth, at least one, may come at once. */
  visitors_per_second: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 100_000 })),
  /** Visitors at once from one address, at its tcp endpoints. */
  visitors_per_address: Type.Optional(Type.Integer({ minimum: 1, maximum: 100_000 })),
  /** Requests a second for its pages at each edge, on average; a second's worth, at least one, may come at once. */
  requests_per_second: Type.Optional(Type.Number({ exclusiveMinimum: 0, maximum: 1_000_000 })),
  /** A visitor of a tcp endpoint is ended after so long without a byte in either direction. */
  idle_seconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 30 * 86_400 })),
  /** Bytes a second of all its visitors together, both directions. */
  bytes_per_second: Type.Optional(Type.Integer({ minimum: 1024, maximum: 1024 ** 4 })),
  /** Bytes of a UTC day, both directions and its control connection: `device.budget` says that so many are reached. */
  day_bytes_alert: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024 ** 5 })),
  /** The same; from then on new visitors are refused until the day is over. */
  day_bytes_cap: Type.Optional(Type.Integer({ minimum: 1, maximum: 1024 ** 5 })),
  /** Ports that it may offer, as `tcp:22` or `http:*`. */
  ports: Type.Optional(Type.Array(Type.String({ pattern: '^(?:http|https|tcp):(?:[0-9]{1,5}|\\*)$' }), { maxItems: 64 })),
  /** What operators may reach besides its endpoints (`culvert forward`), by the device's port; its agent must allow it, too. */
  forward: Type.Optional(Type.Array(PortNumber, { maxItems: 64 })),
  /** Who may visit its tcp endpoints: addresses and networks (CIDR) by the device's port; others are open to all. */
  allow: Type.Optional(
    Type.Array(Type.Object({ port: PortNumber, from: Type.Array(Type.String({ maxLength: 64 }), { maxItems: 64 }) }), {
      maxItems: 32,
    }),
  ),
});
/** What operators tell devices apart by. */
export const Labels = Type.Record(Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,62}$' }), Type.String({ maxLength: 128 }), {
  maxProperties: 32,
});
export const Notes = Type.String({ maxLength: 4096 });

export type Policy = Type.Static<typeof PolicySchema>;

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
    /** By scrypt. `id` stands for it in logins, as the digest does for a token. */
    password: Type.Optional(
      Type.Object({
        salt: Type.String({ maxLength: 64 }),
        hash: Type.String({ maxLength: 128 }),
        id: TokenDigest,
        changed_at: Millis,
      }),
    ),
    created_at: Millis,
    created_by: Name,
  }),
  /** A login of the dashboard. Id: digest of its cookie. Good only while the token that opened it is. */
  login: Type.Object({ operator: Name, token_digest: TokenDigest, created_at: Millis }),
  /**
   * A write that named an Idempotency-Key. Id: digest of what the operator presented and of the key. The answer may hold a
   * token, so it is sealed with a key made of the same two, which are not kept.
   */
  idempotency: Type.Object({
    /** Digest of method, path and body. */
    request: TokenDigest,
    /** Absent: it is under way. */
    answer: Type.Optional(
      Type.Object({ status: Type.Integer({ minimum: 100, maximum: 599 }), sealed: Type.String({ maxLength: 14_000 }) }),
    ),
    created_at: Millis,
  }),
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
  /** Id: the device's name. */
  policy: PolicySchema,
  /** Id: the device's name. */
  profile: Type.Object({ labels: Labels, notes: Notes }),
  /** A key with which devices fetch their tokens. Id: random. */
  enrolment: Type.Object({
    key_digest: TokenDigest,
    /** What devices that enrol with it are labelled. */
    labels: Labels,
    notes: Notes,
    /** How many more devices may enrol; null: any number. */
    uses_left: Type.Union([Type.Integer({ minimum: 0 }), Type.Null()]),
    created_at: Millis,
    created_by: Name,
  }),
  /** That a device has enrolled. Id: `<enrolment>.<device>`; it goes with the key, so that a lost answer can be asked for again. */
  enrolled: Type.Object({ token_digest: TokenDigest, remote: Type.String({ maxLength: 128 }), enrolled_at: Millis }),
  /**
   * Who may see the pages of a device. Id: its name, or `<name>.<port>` for one of its endpoints, which goes first. Without
   * a record the setting of the edge decides.
   */
  access: Type.Object({ private: Type.Boolean() }),
  /** A label under the operator's domain that is an endpoint's for ever. Id: the label. */
  host: Type.Object({ device: Name, port: PortNumber, created_at: Millis, created_by: Name }),
  /** The same by device, as a device that connects asks for it. Id: its name. */
  hosts: Type.Object({ hosts: Type.Array(Type.Object({ port: PortNumber, label: Name }), { maxItems: 32 }) }),
  /** A link that opens a private device. Id: `<device>.<digest of the link's token>`; always with an end. */
  grant: Type.Object({
    created_at: Millis,
    created_by: Name,
    label: Type.String({ maxLength: 128 }),
    /** The only host name that it opens; without it all of the device's. */
    host: Type.Optional(Type.String({ maxLength: 253 })),
    /** The link is for one use, until then; what it opened stays open until the end of the grant. */
    enter_by: Type.Optional(Millis),
    /** Made for the operator's own browser: it ends with their login, and with their rights. Id of the login; empty for a token. */
    login: Type.Optional(Type.String({ maxLength: 64 })),
  }),
  /** A host name that leads to an endpoint of a device, connected or not. Id: the host name. */
  domain: Type.Object({
    device: Name,
    /** The device's own number of the endpoint. */
    port: PortNumber,
    /** PEM, the leaf first. Chain and key are for the edge alone: empty in what commands answer. */
    certificate: Type.Object({
      chain: Type.String({ maxLength: 12 * 1024 }),
      key: Type.String({ maxLength: 4 * 1024 }),
      not_after: Millis,
      /** SHA-256 of the leaf in hex. */
      fingerprint: TokenDigest,
    }),
    created_at: Millis,
    created_by: Name,
  }),
} as const satisfies Record<string, Type.TObject>;

/** Collections that edges read: their changes are announced on the channel of the routes, as `<collection> <id>`. */
export const EDGE_COLLECTIONS: ReadonlySet<string> = new Set<Collection>(['access', 'grant', 'domain', 'policy']);

export type Collection = keyof typeof RECORDS;
export const COLLECTIONS = Object.keys(RECORDS) as Collection[];
export type RecordValue<C extends Collection> = Type.Static<(typeof RECORDS)[C]>;

/** The value without what only the edge may read: private keys never leave the store by a command. */
export function withoutKeys(collection: Collection, value: unknown): unknown {
  if (collection !== 'domain') return value;
  const domain = value as RecordValue<'domain'>;
  return { ...domain, certificate: { ...domain.certificate, chain: '', key: '' } };
}

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
