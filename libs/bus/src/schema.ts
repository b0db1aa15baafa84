import { LEASE_STATES, REFUSED_CODES, SCHEMES } from '@culvert/contracts';
import Type from 'typebox';

/** Building blocks of the payload schemas. Every text is bounded, so that no peer on the bus can hand over a huge one. */
const text = (maxLength: number) => Type.String({ maxLength });

export const DeviceName = Type.String({ pattern: '^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$' });
export const InstanceId = Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,62}$' });
export const PortNumber = Type.Integer({ minimum: 1, maximum: 65_535 });
export const Epoch = Type.Integer({ minimum: 0 });
export const Millis = Type.Integer({ minimum: 0 });
/** Hex SHA-256 of a device token. The token itself never travels on the bus, but for its issue. */
export const TokenDigest = Type.String({ pattern: '^[0-9a-f]{64}$' });
/** An operator, and what rights are looked up by: the digest of the token, and the login if it was by one (else empty). */
export const OperatorUse = Type.Object({ name: DeviceName, token_digest: TokenDigest, login: text(253) });
export type OperatorUse = Type.Static<typeof OperatorUse>;
/** Id of a connection, a dial or a boot. */
export const Id = text(128);
export const Text = text(512);

export const SchemeName = Type.Enum(SCHEMES);
export const StateName = Type.Enum(LEASE_STATES);
export const RefusedName = Type.Enum(REFUSED_CODES);

export const PortSpecSchema = Type.Object({ port: PortNumber, scheme: SchemeName });
export const EndpointSchema = Type.Object({
  port: PortNumber,
  scheme: SchemeName,
  host: Type.Optional(text(253)),
  public_port: PortNumber,
});

export const LeaseSchema = Type.Object({
  device: DeviceName,
  state: StateName,
  epoch: Epoch,
  rev: Type.Integer({ minimum: 0 }),
  since: Millis,
  due: Type.Union([Millis, Type.Null()]),
  ingress: Type.String(),
  control: Id,
  listener: InstanceId,
  endpoints: Type.Array(EndpointSchema, { maxItems: 32 }),
  boot: Id,
  remote: text(128),
  warm: Type.Integer({ minimum: 0 }),
  transfers: Type.Integer({ minimum: 1 }),
  max_frame: Type.Integer({ minimum: 1 }),
});

/** A refusal of any command: the code is one of contracts ERRORS. */
export const Refusal = Type.Object({
  ok: Type.Literal(false),
  code: Type.String(),
  message: Text,
  retry_after_ms: Type.Optional(Millis),
});
export type Refusal = Type.Static<typeof Refusal>;

/** A command's reply: the named fields, or a refusal. */
export const replyOf = <P extends Type.TProperties>(properties: P) =>
  Type.Union([Type.Object({ ok: Type.Literal(true), ...properties }), Refusal]);
