import { CulvertError, DEFAULT_LIMITS, INLINE_CREDIT_MAX, LIMITS, REFUSED_CODES, type RefusedCode } from '@culvert/contracts';

/** Public side of one endpoint: `url` for http and https, `host` and `public_port` for tcp. Sent again when it moves. */
export interface EndpointMessage {
  type: 'endpoint';
  port: number;
  url?: string;
  host?: string;
  public_port?: number;
}
export interface ReadyMessage {
  type: 'ready';
  epoch: number;
  heartbeat_ms: number;
  grace_ms: number;
  resumed: boolean;
  transfer_url?: string;
  transfer_key?: string;
  /** How many inline transfers are granted; absent: none. */
  inline?: number;
}
export interface DialMessage {
  type: 'dial';
  id: string;
  port: number;
  path: string;
  visitor: string;
  /** True: nobody visits. The device opens the transfer, connects to no target, and closes it again. */
  canary?: boolean;
  /** W3C trace context of the visitor, when the visit is traced: the device may say how long its part took (`traced`). */
  traceparent?: string;
}
/** How long a device's part of a traced dial took. */
export interface TracedMessage {
  type: 'traced';
  /** That of the dial. */
  id: string;
  /** From the dial to the connected local target. */
  local_ms: number;
  /** From there to the open transfer. */
  open_ms: number;
}
/** The device answers a dial by an inline transfer. */
export interface OpenMessage {
  type: 'open';
  channel: number;
  /** That of the dial. */
  path: string;
  /** Bytes that the device is ready to receive. */
  credit: number;
}
export interface RefusedMessage {
  type: 'refused';
  id: string;
  code: RefusedCode;
}
export interface WindDownMessage {
  type: 'wind_down';
  reconnect_ms: number;
}
export interface ByeMessage {
  type: 'bye';
  /** A code of the error table; receivers take any text, since later versions may have more. */
  code: string;
  message: string;
}
export interface AssignMessage {
  type: 'assign';
  id: string;
  port: number;
  visitor: string;
  traceparent?: string;
}
export interface AcceptedMessage {
  type: 'accepted';
  id: string;
  /** From `assign` to the connected local target, when that had a trace context. */
  local_ms?: number;
}
export interface IdleMessage {
  type: 'idle';
  id: string;
}
export type Message =
  | EndpointMessage
  | ReadyMessage
  | DialMessage
  | TracedMessage
  | OpenMessage
  | RefusedMessage
  | WindDownMessage
  | ByeMessage
  | AssignMessage
  | AcceptedMessage
  | IdleMessage;
export type MessageType = Message['type'];

export type Decoded =
  | Message
  /** A well-formed message of a type this version does not know: to be ignored. */
  | { type: 'unknown'; name: string }
  /** Not a message of this protocol; `fault` says what is wrong and what would be right. */
  | { type: 'fault'; fault: string };

type Check = (value: unknown) => string | undefined;
interface Field {
  check: Check;
  optional?: true;
}

const integer =
  (min: number, max: number): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : `an integer from ${min} to ${max}`;
const text =
  (min: number, max: number): Check =>
  (value) =>
    typeof value === 'string' && value.length >= min && value.length <= max ? undefined : `text of ${min} to ${max} characters`;
const flag: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false');
const ID = '[A-Za-z0-9_-]{1,64}';
const WHOLE_ID = new RegExp(`^${ID}$`);
const isId = (value: unknown): value is string => typeof value === 'string' && WHOLE_ID.test(value);
const id: Check = (value) => (isId(value) ? undefined : '1 to 64 characters of A-Z a-z 0-9 _ -');
const path: Check = (value) =>
  typeof value === 'string' && /^\/[\x21-\x7e]{1,255}$/.test(value) ? undefined : 'an absolute path of at most 256 characters';
const refusedCode: Check = (value) =>
  REFUSED_CODES.some((code) => code === value) ? undefined : `one of ${REFUSED_CODES.join(', ')}`;

const DAY = 86_400_000;
const port: Field = { check: integer(1, 65_535) };
const visitor: Field = { check: text(0, 128) };
const traceparent: Field = { check: text(1, 64), optional: true };
const duration: Field = { check: integer(0, DAY) };

const FIELDS: Record<MessageType, Record<string, Field>> = {
  endpoint: {
    port,
    url: { check: text(1, 512), optional: true },
    host: { check: text(1, 255), optional: true },
    public_port: { check: integer(1, 65_535), optional: true },
  },
  ready: {
    epoch: { check: integer(0, Number.MAX_SAFE_INTEGER) },
    heartbeat_ms: { check: integer(1, DAY) },
    grace_ms: { check: integer(0, 3660 * DAY) },
    resumed: { check: flag },
    transfer_url: { check: text(1, 256), optional: true },
    transfer_key: { check: text(1, 256), optional: true },
    inline: { check: integer(0, LIMITS.INLINE_PER_DEVICE.max), optional: true },
  },
  dial: { id: { check: id }, port, path: { check: path }, visitor, canary: { check: flag, optional: true }, traceparent },
  traced: { id: { check: id }, local_ms: duration, open_ms: duration },
  open: { channel: { check: integer(0, 65_535) }, path: { check: path }, credit: { check: integer(1, INLINE_CREDIT_MAX) } },
  refused: { id: { check: id }, code: { check: refusedCode } },
  wind_down: { reconnect_ms: { check: integer(0, DAY) } },
  bye: { code: { check: text(1, 64) }, message: { check: text(0, 512) } },
  assign: { id: { check: id }, port, visitor, traceparent },
  accepted: { id: { check: id }, local_ms: { ...duration, optional: true } },
  idle: { id: { check: id } },
};

/** Longest message of protocol version 1, in bytes of UTF-8. */
export const MESSAGE_MAX = DEFAULT_LIMITS.CONTROL_MESSAGE_BYTES;

/**
 * The text of one message.
 *
 * @throws CulvertError `too_large` past 1,024 bytes, `internal` for a message that the peer would have to call faulty: both
 *   are our own mistakes.
 */
export function encodeMessage(message: Message): string {
  const plain = encodePlain(message);
  if (plain !== undefined) return plain;
  const encoded = JSON.stringify(message);
  const bytes = Buffer.byteLength(encoded);
  if (bytes > MESSAGE_MAX) {
    throw new CulvertError('too_large', `message ${message.type} has ${bytes} bytes; expected at most ${MESSAGE_MAX}`);
  }
  const fields = message as unknown as Record<string, unknown>;
  const wrong = flatFault(fields) ?? fieldsFault(message.type, fields, undefined);
  if (wrong !== undefined) throw new CulvertError('internal', wrong);
  return encoded;
}

function flatFault(given: Record<string, unknown>): string | undefined {
  for (const name in given) {
    const entry = given[name];
    if (typeof entry === 'object' && entry !== null) {
      return `field ${show(name)} holds an object or array; expected a flat JSON object`;
    }
  }
  return undefined;
}

/** What is wrong with the fields of a message, or undefined; those that are known are put into `message`. */
function fieldsFault(
  type: MessageType,
  given: Record<string, unknown>,
  message: Record<string, unknown> | undefined,
): string | undefined {
  const fields = FIELDS[type];
  for (const name in fields) {
    const field = fields[name] as Field;
    const entry = Object.hasOwn(given, name) ? given[name] : undefined;
    if (entry === undefined) {
      if (field.optional) continue;
      return `message ${type} lacks field ${name}; expected ${field.check(undefined)}`;
    }
    const expected = field.check(entry);
    if (expected !== undefined) return `field ${name} of message ${type} is ${show(entry)}; expected ${expected}`;
    if (message !== undefined) message[name] = entry;
  }
  if (type === 'endpoint' && given.url === undefined && (given.host === undefined || given.public_port === undefined)) {
    return 'message endpoint lacks its public side; expected url, or host and public_port';
  }
  return undefined;
}

/** Addresses, and names as the edge's. */
const VISITOR = '[A-Za-z0-9_.:[\\]-]{0,64}';

/**
 * What each visitor of a warm transfer takes: written by `encodePlain`, and read, without JSON, which would cost a twentieth of the
 * agent's CPU for a short visit. Whatever is not written just so, or has more to say, goes by JSON as all others do.
 */
const PLAIN_ANSWER = new RegExp(`^\\{"type":"(accepted|idle)","id":"(${ID})"\\}$`);
const PLAIN_ASSIGN = new RegExp(`^\\{"type":"assign","id":"(${ID})","port":([1-9][0-9]{0,4}),"visitor":"(${VISITOR})"\\}$`);
const PLAIN_VISITOR = new RegExp(`^${VISITOR}$`);

/** Undefined for what has to be checked field by field. */
function encodePlain(message: Message): string | undefined {
  const { type } = message;
  if (type === 'idle' || (type === 'accepted' && message.local_ms === undefined)) {
    return isId(message.id) ? `{"type":"${type}","id":"${message.id}"}` : undefined;
  }
  if (type !== 'assign' || message.traceparent !== undefined || !isId(message.id)) return undefined;
  const { id: own, port: target, visitor: from } = message;
  if (port.check(target) !== undefined || typeof from !== 'string' || !PLAIN_VISITOR.test(from)) return undefined;
  return `{"type":"assign","id":"${own}","port":${target},"visitor":"${from}"}`;
}

function decodePlain(encoded: string): Message | undefined {
  const answer = PLAIN_ANSWER.exec(encoded);
  if (answer !== null) return { type: answer[1] as 'accepted' | 'idle', id: answer[2] as string };
  const assign = PLAIN_ASSIGN.exec(encoded);
  if (assign === null) return undefined;
  const target = Number(assign[2]);
  if (port.check(target) !== undefined) return undefined;
  return { type: 'assign', id: assign[1] as string, port: target, visitor: assign[3] as string };
}

/** Reads one text message. Unknown types and fields are not faults; everything else that is wrong is named. Never throws. */
export function decodeMessage(encoded: string): Decoded {
  const plain = decodePlain(encoded);
  if (plain !== undefined) return plain;
  const bytes = Buffer.byteLength(encoded);
  if (bytes > MESSAGE_MAX) return fault(`a message has ${bytes} bytes; expected at most ${MESSAGE_MAX}`);
  let value: unknown;
  try {
    value = JSON.parse(encoded);
  } catch {
    return fault('a message is not JSON; expected a flat JSON object');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return fault('a message is not a JSON object; expected a flat one');
  }
  const given = value as Record<string, unknown>;
  const nested = flatFault(given);
  if (nested !== undefined) return fault(nested);
  const type = Object.hasOwn(given, 'type') ? given.type : undefined;
  if (typeof type !== 'string') return fault('field type is missing or not text; expected the name of a message');
  if (!Object.hasOwn(FIELDS, type)) return { type: 'unknown', name: type.slice(0, 64) };
  const known = type as MessageType;
  const message: Record<string, unknown> = { type: known };
  const wrong = fieldsFault(known, given, message);
  if (wrong !== undefined) return fault(wrong);
  return message as unknown as Message;
}

function fault(text: string): Decoded {
  return { type: 'fault', fault: text };
}

function show(value: unknown): string {
  return JSON.stringify(value).slice(0, 48);
}
