import Type from 'typebox';
import { COLLECTIONS, Labels, Notes, PolicySchema, RecordId } from './records.ts';
import {
  DeviceName,
  EndpointSchema,
  Epoch,
  Id,
  InstanceId,
  LeaseSchema,
  Millis,
  OperatorUse,
  PortNumber,
  PortSpecSchema,
  RefusedName,
  replyOf,
  StateName,
  Text,
  TokenDigest,
} from './schema.ts';

const Tenure = { device: DeviceName, epoch: Epoch };
const Page = {
  cursor: Type.Optional(Type.String({ maxLength: 128 })),
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
};
const DeviceRecord = Type.Object({
  device: DeviceName,
  created_at: Millis,
  revoked: Type.Boolean(),
  /** Absent: none. */
  labels: Type.Optional(Labels),
  notes: Type.Optional(Notes),
});
/** One record of the operators' data; its value fits RECORDS[collection]. */
const RecordRef = { collection: Type.Enum(COLLECTIONS), id: RecordId };
const RevisionNumber = Type.Integer({ minimum: 0 });
const ExpiresAt = Type.Union([Millis, Type.Null()]);
const RecordShape = Type.Object({ id: RecordId, value: Type.Unknown(), revision: RevisionNumber, expires_at: ExpiresAt });
/** What transfers may present one of; that of the tenure stands first. */
const Digests = Type.Array(TokenDigest, { maxItems: 4 });
const Count = Type.Integer({ minimum: 0 });
/** Where a device may dial transfers past the edge, and the bearer token for it: random, good for one tenure at one listener. */
const Direct = Type.Object({
  url: Type.String({ minLength: 1, maxLength: 256 }),
  key: Type.String({ minLength: 1, maxLength: 256 }),
});
const { due: _due, ...AssertedFields } = LeaseSchema.properties;
/** Most leases in one `lease.reassert`: with 32 endpoints each they fit into one message of NATS. */
export const REASSERT_BATCH = 200;
/** Most tenures in one `ingress.missing`. */
export const MISSING_BATCH = 500;
/** Most devices in one `usage.report`. */
export const USAGE_BATCH = 500;

/**
 * Every command: its request and its reply. Subjects are `cmd.<name>`; those with `to: 'instance'` are
 * `cmd.<service>.<id>.<verb>` and go to one process, the others are shared by all instances of a service.
 */
export const COMMANDS = {
  // lease-manager
  'lease.acquire': {
    to: 'shared',
    request: Type.Object({
      device: DeviceName,
      token_digest: TokenDigest,
      ports: Type.Array(PortSpecSchema, { minItems: 1, maxItems: 32 }),
      boot: Id,
      ingress: InstanceId,
      control: Id,
      remote: Text,
      warm: Count,
      transfers: Type.Integer({ minimum: 1 }),
      max_frame: Type.Integer({ minimum: 1 }),
    }),
    reply: replyOf({
      epoch: Epoch,
      resumed: Type.Boolean(),
      grace_ms: Millis,
      listener: InstanceId,
      endpoints: Type.Array(EndpointSchema),
      direct: Type.Optional(Direct),
    }),
  },
  /** Ends a tenure. A stale epoch or control id changes nothing and is refused with `lease_lost`. */
  'lease.release': {
    to: 'shared',
    request: Type.Object({ ...Tenure, control: Id, reason: Type.String({ maxLength: 64 }) }),
    reply: replyOf({ state: StateName }),
  },
  /** What devices have moved since the last report of that instance; a batch that was told before is not counted again. */
  'usage.report': {
    to: 'shared',
    request: Type.Object({
      instance: InstanceId,
      batch: Id,
      entries: Type.Array(Type.Object({ device: DeviceName, to_device: Count, to_visitor: Count, control: Count }), {
        maxItems: USAGE_BATCH,
      }),
    }),
    /** Those of them that have reached their cap, until the day is over. */
    reply: replyOf({ spent: Type.Array(DeviceName), until: Millis }),
  },
  'usage.get': {
    to: 'shared',
    request: Type.Object({ device: DeviceName, days: Type.Integer({ minimum: 1, maximum: 40 }) }),
    reply: replyOf({
      days: Type.Array(Type.Object({ day: Type.String({ maxLength: 10 }), to_device: Count, to_visitor: Count, control: Count })),
    }),
  },
  'lease.get': {
    to: 'shared',
    request: Type.Object({ device: DeviceName }),
    reply: replyOf({ lease: Type.Union([LeaseSchema, Type.Null()]) }),
  },
  'lease.list': {
    to: 'shared',
    request: Type.Object({ ...Page, listener: Type.Optional(InstanceId) }),
    reply: replyOf({
      /** `token_digest` is that of the tenure; `token_digests`, for listeners, are all that its transfers may present. */
      leases: Type.Array(
        Type.Object({
          lease: LeaseSchema,
          token_digest: Type.Union([TokenDigest, Type.Null()]),
          token_digests: Digests,
          policy: Type.Optional(PolicySchema),
        }),
      ),
      cursor: Type.Union([Type.String(), Type.Null()]),
      /** Incarnation of the store that says so. */
      store: Text,
    }),
  },
  /**
   * What an instance holds, in the order that it likes: an ingress its control connections (all fields), a listener its
   * bound ports (`control`, `boot` and `remote` are empty). The store takes over what it has lost. `lost` are those that
   * belong to another tenure, or to none, by now. The only command that is served while the store is recovering.
   */
  'lease.reassert': {
    to: 'shared',
    request: Type.Object({
      from: Type.Enum(['ingress', 'listener'] as const),
      instance: InstanceId,
      leases: Type.Array(Type.Object({ ...AssertedFields, token_digest: Type.Union([TokenDigest, Type.Null()]) }), {
        maxItems: REASSERT_BATCH,
      }),
    }),
    reply: replyOf({
      store: Text,
      lost: Type.Array(Type.Object({ ...Tenure, code: Type.String() })),
    }),
  },
  /** Ends the lease at once, in whatever state: names and ports go (ports to cool-down), connections are cut. */
  'lease.revoke': {
    to: 'shared',
    request: Type.Object({ device: DeviceName, reason: Text }),
    reply: replyOf({ revoked: Type.Boolean() }),
  },
  'device.auth': {
    to: 'shared',
    request: Type.Object({ device: DeviceName, token_digest: TokenDigest }),
    reply: replyOf({}),
  },
  'device.add': {
    to: 'shared',
    request: Type.Object({ device: DeviceName, token_digest: TokenDigest }),
    reply: replyOf({ created_at: Millis }),
  },
  /** With `labels`, only devices that have all of them; such a page may be short, or empty, and have a cursor all the same. */
  'device.list': {
    to: 'shared',
    request: Type.Object({ ...Page, labels: Type.Optional(Labels) }),
    reply: replyOf({
      devices: Type.Array(Type.Object({ ...DeviceRecord.properties, lease: Type.Union([LeaseSchema, Type.Null()]) })),
      cursor: Type.Union([Type.String(), Type.Null()]),
    }),
  },
  'device.show': {
    to: 'shared',
    request: Type.Object({ device: DeviceName }),
    reply: replyOf({ device: DeviceRecord, lease: Type.Union([LeaseSchema, Type.Null()]) }),
  },
  /** The device's token is dead from now on; `missing` names instances that have not acknowledged the cut. */
  'device.revoke': {
    to: 'shared',
    request: Type.Object({ device: DeviceName }),
    reply: replyOf({ missing: Type.Array(Type.String()) }),
  },
  /** Both tokens are valid until the first use of the new one; with `at_once` the old one is dead from now on. */
  'device.rotate': {
    to: 'shared',
    request: Type.Object({ device: DeviceName, token_digest: TokenDigest, at_once: Type.Optional(Type.Boolean()) }),
    reply: replyOf({}),
  },
  /**
   * The endpoint of this port has this label under the operator's domain, or null: from now on a name for ever no more.
   * `renamed`: its lease has the name already; otherwise the next one will.
   */
  'device.host': {
    to: 'shared',
    request: Type.Object({
      device: DeviceName,
      port: PortNumber,
      label: Type.Union([Type.String({ maxLength: 63 }), Type.Null()]),
      by: Text,
    }),
    reply: replyOf({ host: Type.Union([Text, Type.Null()]), renamed: Type.Boolean() }),
  },
  /**
   * A device's first start: it made its token itself, and shows an enrolment key. Asked again with the same token, it is
   * answered the same, and counts once.
   */
  'enrolment.use': {
    to: 'shared',
    request: Type.Object({ key: RecordId, key_digest: TokenDigest, device: DeviceName, token_digest: TokenDigest, remote: Text }),
    reply: replyOf({ created_at: Millis }),
  },
  'record.get': {
    to: 'shared',
    request: Type.Object(RecordRef),
    reply: replyOf({ record: Type.Union([RecordShape, Type.Null()]) }),
  },
  'record.list': {
    to: 'shared',
    request: Type.Object({
      collection: RecordRef.collection,
      cursor: Type.Optional(RecordId),
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
      prefix: Type.Optional(Type.String({ maxLength: 253 })),
    }),
    reply: replyOf({ records: Type.Array(RecordShape), cursor: Type.Union([RecordId, Type.Null()]) }),
  },
  /** Answered once it is kept outside of the store, too. `expected`: the revision it must have, 0 for none. */
  'record.put': {
    to: 'shared',
    request: Type.Object({
      ...RecordRef,
      value: Type.Unknown(),
      expected: Type.Optional(RevisionNumber),
      ttl_ms: Type.Optional(Type.Integer({ minimum: 1 })),
    }),
    reply: replyOf({ revision: RevisionNumber, expires_at: ExpiresAt }),
  },
  'record.delete': {
    to: 'shared',
    request: Type.Object({ ...RecordRef, expected: Type.Optional(RevisionNumber) }),
    reply: replyOf({ deleted: Type.Boolean() }),
  },
  // admin
  /** May this operator still connect to devices? Refused with `unauthorized` or `forbidden` when not. */
  'operator.check': { to: 'shared', request: OperatorUse, reply: replyOf({}) },
  // port-allocator
  /** Reserves ports for TENURE_CONFIRM_MS under (device, epoch), all of one listener; `listener` asks for that one only. */
  'port.allocate': {
    to: 'shared',
    request: Type.Object({
      ...Tenure,
      count: Type.Integer({ minimum: 1, maximum: 32 }),
      listener: Type.Union([InstanceId, Type.Null()]),
      /** Ports found in use by a foreign process: put aside for a cool-down and reported. */
      unusable: Type.Optional(Type.Array(PortNumber, { maxItems: 32 })),
    }),
    reply: replyOf({ listener: InstanceId, ports: Type.Array(PortNumber) }),
  },
  'port.release': {
    to: 'shared',
    request: Type.Object({ ...Tenure, listener: InstanceId, ports: Type.Array(PortNumber, { maxItems: 64 }) }),
    reply: replyOf({ released: Count }),
  },
  /** Ports of a live listener other than `except`, for `ms`: nobody holds them, and nobody gives them back. */
  'port.lend': {
    to: 'shared',
    request: Type.Object({ count: Type.Integer({ minimum: 1, maximum: 32 }), except: InstanceId, ms: Millis }),
    reply: replyOf({ listener: InstanceId, ports: Type.Array(PortNumber) }),
  },
  /** How the ports of each live listener stand. */
  'port.fill': {
    to: 'shared',
    request: Type.Object({}),
    reply: replyOf({
      listeners: Type.Array(
        Type.Object({ listener: InstanceId, first: PortNumber, last: PortNumber, held: Count, free: Count, cooling: Count }),
      ),
    }),
  },
  // tcp-listener, one instance
  /** Level-triggered: the highest (epoch, rev) wins, an older one is refused with `lease_lost`. */
  'listener.bind': {
    to: 'instance',
    request: Type.Object({
      ...Tenure,
      rev: Count,
      state: StateName,
      since: Millis,
      ingress: Type.String(),
      ports: Type.Array(EndpointSchema, { maxItems: 32 }),
      token_digests: Digests,
      policy: Type.Optional(PolicySchema),
      /** `carry`: same boot, pending dials and warm transfers go on; `replace`: another boot, they are superseded. */
      mode: Type.Enum(['carry', 'replace'] as const),
      /**
       * The names of the lease are served by another listener than its own for a while: `here`, by this one, on ports that are
       * lent to it and go after `ms`; or elsewhere, so that this one, whose lease it is, may stop serving them.
       */
      stand_in: Type.Optional(Type.Object({ here: Type.Boolean(), ms: Millis })),
      warm: Count,
      transfers: Type.Integer({ minimum: 1 }),
      max_frame: Type.Integer({ minimum: 1 }),
    }),
    /** With `unavailable`, `failed` names the ports that a foreign process holds. */
    reply: Type.Union([
      Type.Object({ ok: Type.Literal(true), direct: Type.Optional(Direct) }),
      Type.Object({ ok: Type.Literal(false), code: Type.String(), message: Text, failed: Type.Optional(Type.Array(PortNumber)) }),
    ]),
  },
  'listener.unbind': { to: 'instance', request: Type.Object(Tenure), reply: replyOf({}) },
  /**
   * Ends running transfers and waiting visitors of the tenure (and older ones) with the code; with `only` those of
   * these endpoints of the device, and none of operators.
   */
  'listener.cut': {
    to: 'instance',
    request: Type.Object({ ...Tenure, code: Type.String(), only: Type.Optional(Type.Array(PortNumber, { maxItems: 32 })) }),
    reply: replyOf({ cut: Count }),
  },
  /** The device refused a dial; handed on by its ingress. */
  'listener.refused': {
    to: 'instance',
    request: Type.Object({ ...Tenure, id: Id, code: RefusedName }),
    reply: replyOf({}),
  },
  /**
   * An operator may connect to this port of the device: the ticket is good once, for ACCESS_TICKET_MS, for who has its key.
   * `undeclared`: also when the device does not declare the port; the agent still has the last word.
   */
  'listener.admit': {
    to: 'instance',
    request: Type.Object({
      ...Tenure,
      port: PortNumber,
      undeclared: Type.Boolean(),
      operator: OperatorUse,
      key_digest: TokenDigest,
    }),
    reply: replyOf({ ticket: Id, expires_ms: Millis }),
  },
  /**
   * Can the device be reached from here? Says what is bound of it; with `ports` it asks for a transfer of each of these, and for
   * one without a target, all at once, each until `within_ms`. No visitor is counted and no event is written.
   */
  'listener.trace': {
    to: 'instance',
    request: Type.Object({ ...Tenure, ports: Type.Array(PortNumber, { maxItems: 32 }), within_ms: Millis }),
    reply: replyOf({
      /** What this listener believes; null: it has no tenure of the device. */
      tenure: Type.Union([Type.Object({ epoch: Epoch, state: StateName }), Type.Null()]),
      /** By the device's own number: is its public port open? */
      open: Type.Array(Type.Object({ port: PortNumber, open: Type.Boolean() })),
      /** `ok`, or a code of contracts ERRORS. Present when ports were asked for. */
      dial: Type.Optional(Type.Object({ code: Type.String(), ms: Millis })),
      targets: Type.Array(Type.Object({ port: PortNumber, code: Type.String(), ms: Millis })),
    }),
  },
  /** Any service: do what SIGTERM does, wind down and end. Answered before it begins. */
  'instance.wind_down': { to: 'instance', request: Type.Object({}), reply: replyOf({ pid: Type.Integer() }) },
  // ws-ingress, one instance
  /** Answered once the message is handed to the device's socket. */
  'ingress.dial': {
    to: 'instance',
    request: Type.Object({
      ...Tenure,
      id: Id,
      port: PortNumber,
      path: Type.String({ maxLength: 256 }),
      visitor: Text,
      listener: InstanceId,
      /** Nobody visits: does a transfer of this device come about at all? */
      canary: Type.Optional(Type.Boolean()),
    }),
    reply: replyOf({}),
  },
  /** Is the holder of that epoch alive? Answered within PROBE_MS. */
  'ingress.probe': {
    to: 'instance',
    request: Type.Object(Tenure),
    reply: replyOf({
      alive: Type.Boolean(),
      /** Is the control connection of that epoch here at all? */
      here: Type.Optional(Type.Boolean()),
    }),
  },
  /** Which of these have no control connection here, nor a newer one of the same device? */
  'ingress.missing': {
    to: 'instance',
    request: Type.Object({ tenures: Type.Array(Type.Object(Tenure), { maxItems: MISSING_BATCH }) }),
    reply: replyOf({ missing: Type.Array(Type.Object(Tenure)) }),
  },
  'ingress.close': {
    to: 'instance',
    request: Type.Object({ ...Tenure, code: Type.String(), message: Text }),
    reply: replyOf({ closed: Type.Boolean() }),
  },
  /** An endpoint moved: the device is told by an `endpoint` message. */
  'ingress.endpoints': {
    to: 'instance',
    request: Type.Object({ ...Tenure, listener: InstanceId, endpoints: Type.Array(EndpointSchema) }),
    reply: replyOf({}),
  },
} as const;

export type CommandName = keyof typeof COMMANDS;
export type SharedCommand = { [N in CommandName]: (typeof COMMANDS)[N]['to'] extends 'shared' ? N : never }[CommandName];
export type InstanceCommand = Exclude<CommandName, SharedCommand>;
export type CommandRequest<N extends CommandName> = Type.Static<(typeof COMMANDS)[N]['request']>;
export type CommandReply<N extends CommandName> = Type.Static<(typeof COMMANDS)[N]['reply']>;

/** `lease.acquire` → `cmd.lease.acquire`; `listener.bind` to `tcp-listener-1` → `cmd.listener.tcp-listener-1.bind`. */
export function subjectOf(command: CommandName, instance?: string): string {
  if (instance === undefined) return `cmd.${command}`;
  const [group, verb] = command.split('.');
  return `cmd.${group}.${instance}.${verb}`;
}
