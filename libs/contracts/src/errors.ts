/**
 * The one table of error codes. A code is the same string in refusal bodies, WebSocket close reasons, logs, metrics and
 * command replies; text is for people and is never parsed.
 */
export interface ErrorEntry {
  /** One sentence for the docs and for people. */
  meaning: string;
  /** HTTP status when the code refuses a handshake or a request; null when it never does. */
  http: number | null;
  /** WebSocket close code (4000..4999, or one of RFC 6455) when the code ends a WebSocket; null when it never does. */
  close: number | null;
  /** May the peer try again by itself? `slow`: only at its slowest pace. */
  retry: 'yes' | 'slow' | 'no';
}

export const ERRORS = {
  // Refusals of a handshake.
  bad_request: {
    meaning: 'The request is malformed; the message says what is wrong and what would be right.',
    http: 400,
    close: null,
    retry: 'slow',
  },
  unauthorized: {
    meaning: 'The device token is missing, unknown, or the name does not exist.',
    http: 401,
    close: 4401,
    retry: 'slow',
  },
  forbidden: {
    meaning: 'The device token is valid but belongs to another name, or its policy forbids this.',
    http: 403,
    close: 4403,
    retry: 'slow',
  },
  not_found: {
    meaning: 'There is nothing at this path, or the id is unknown, used or expired.',
    http: 404,
    close: 4404,
    retry: 'no',
  },
  name_in_use: { meaning: 'Another live connection holds this name.', http: 409, close: 4409, retry: 'yes' },
  already_exists: { meaning: 'Something of this name exists.', http: 409, close: null, retry: 'no' },
  conflict: { meaning: 'It was changed meanwhile; read it again.', http: 409, close: null, retry: 'yes' },
  too_large: { meaning: 'A request, header or message is larger than its limit.', http: 413, close: 1009, retry: 'slow' },
  rate_limited: { meaning: 'Too many attempts; wait as long as Retry-After says.', http: 429, close: 4429, retry: 'yes' },
  internal: { meaning: 'A fault of ours; the log has it.', http: 500, close: 1011, retry: 'yes' },
  unavailable: {
    meaning: 'A service that is needed is away; try again after Retry-After.',
    http: 503,
    close: 4503,
    retry: 'yes',
  },
  recovering: {
    meaning: 'The store is being restored from the living; try again after Retry-After.',
    http: 503,
    close: null,
    retry: 'yes',
  },
  ports_exhausted: { meaning: 'No listener has enough free public ports.', http: 503, close: null, retry: 'yes' },
  // Endings of a control connection.
  bye: { meaning: 'The peer is leaving of its own will.', http: null, close: 1000, retry: 'no' },
  moved: { meaning: 'The same agent holds its lease on a newer control connection.', http: null, close: 4410, retry: 'no' },
  superseded: { meaning: 'A newer tenure of the same name has taken over.', http: null, close: 4411, retry: 'yes' },
  lease_lost: { meaning: 'The lease is no longer held by this connection.', http: null, close: 4412, retry: 'yes' },
  revoked: { meaning: 'The operator revoked the device.', http: null, close: 4413, retry: 'slow' },
  heartbeat_lost: { meaning: 'Nothing was heard from the peer for 2.5 heartbeats.', http: null, close: 4414, retry: 'yes' },
  transfers_dead: {
    meaning: 'Messages pass on the control connection, but no transfer connection comes about.',
    http: null,
    close: 4416,
    retry: 'yes',
  },
  wind_down: { meaning: 'The instance is winding down.', http: 503, close: 4415, retry: 'yes' },
  protocol_error: { meaning: 'The peer broke the protocol.', http: null, close: 4400, retry: 'slow' },
  // Why a dial failed, as the device says it or as the listener finds it.
  local_refused: {
    meaning: 'The local target refused the connection or could not be reached.',
    http: 502,
    close: 4420,
    retry: 'yes',
  },
  local_timeout: {
    meaning: 'The local target did not answer the connection attempt in time.',
    http: 504,
    close: 4421,
    retry: 'yes',
  },
  not_allowed: { meaning: 'The device does not offer this port.', http: 502, close: 4422, retry: 'no' },
  busy: {
    meaning: 'The device, or the queue in front of it, has as many transfers as it can take.',
    http: 503,
    close: 4423,
    retry: 'yes',
  },
  dial_timeout: {
    meaning: 'The device did not open the transfer connection before the dial deadline.',
    http: 504,
    close: 4424,
    retry: 'yes',
  },
  device_offline: { meaning: 'The device is not connected.', http: 503, close: 4425, retry: 'yes' },
  // Endings of a transfer.
  peer_reset: {
    meaning: 'The TCP connection behind the other end broke before both directions had ended.',
    http: null,
    close: 4430,
    retry: 'no',
  },
  linger_expired: {
    meaning: 'The second direction outlived the first for longer than the linger limit.',
    http: null,
    close: 4431,
    retry: 'no',
  },
  write_timeout: { meaning: 'A peer took no bytes for as long as the write deadline.', http: null, close: 4432, retry: 'no' },
  idle_timeout: { meaning: 'No byte came from either side for as long as the idle limit.', http: null, close: 4433, retry: 'no' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

/** The error class of all our code: a code out of the table, a text for people, the cause kept. */
export class CulvertError extends Error {
  override readonly name = 'CulvertError';
  readonly code: ErrorCode;
  /** How long the peer should wait before it tries again, in milliseconds; undefined when the code alone decides. */
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message?: string, options?: { cause?: unknown; retryAfterMs?: number | undefined }) {
    super(message ?? ERRORS[code].meaning, options?.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryAfterMs = options?.retryAfterMs;
  }
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERRORS, text);
}

/** The code that a WebSocket close code stands for; undefined for codes outside our table. */
export function codeOfClose(close: number): ErrorCode | undefined {
  for (const [code, entry] of Object.entries(ERRORS)) if (entry.close === close && close >= 4000) return code as ErrorCode;
  return undefined;
}
