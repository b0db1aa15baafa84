import { createHash } from 'node:crypto';
import { CulvertError, DEFAULT_LIMITS, ERRORS, type ErrorCode, isErrorCode, SUBPROTOCOL } from '@culvert/contracts';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** Sec-WebSocket-Accept for a Sec-WebSocket-Key (RFC 6455, 4.2.2). */
export function acceptKey(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64');
}

/** The server's answer to a good handshake. */
export function renderUpgrade(key: string): string {
  return (
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    `Sec-WebSocket-Accept: ${acceptKey(key)}\r\nSec-WebSocket-Protocol: ${SUBPROTOCOL}\r\n\r\n`
  );
}

const STATUS_TEXT: Record<number, string> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  409: 'Conflict',
  413: 'Content Too Large',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
};

/**
 * The whole HTTP answer to a handshake that is refused; afterwards the socket is closed.
 *
 * @param retryAfterMs Rounded up to whole seconds, at least 1; left out when undefined.
 */
export function renderRefusal(refusal: { code: ErrorCode; message: string; retryAfterMs?: number | undefined }): string {
  const status = ERRORS[refusal.code].http ?? 500;
  const body = JSON.stringify({ code: refusal.code, message: refusal.message });
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_TEXT[status] ?? 'Refused'}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'Connection: close',
  ];
  if (refusal.retryAfterMs !== undefined) lines.push(`Retry-After: ${Math.max(1, Math.ceil(refusal.retryAfterMs / 1000))}`);
  if (status === 401) lines.push('WWW-Authenticate: Bearer');
  if (status === 400) lines.push('Sec-WebSocket-Version: 13');
  return `${lines.join('\r\n')}\r\n\r\n${body}`;
}

/** A client's handshake as text. `host` is the value of the Host header; extra headers go behind ours. */
export function renderRequest(request: {
  host: string;
  path: string;
  key: string;
  token: string;
  headers?: Record<string, string>;
}): string {
  const lines = [
    `GET ${request.path} HTTP/1.1`,
    `Host: ${request.host}`,
    'Upgrade: websocket',
    'Connection: Upgrade',
    `Sec-WebSocket-Key: ${request.key}`,
    'Sec-WebSocket-Version: 13',
    `Sec-WebSocket-Protocol: ${SUBPROTOCOL}`,
    `Authorization: Bearer ${request.token}`,
  ];
  for (const [name, value] of Object.entries(request.headers ?? {})) lines.push(`${name}: ${value}`);
  for (const line of lines) {
    if (/[^\x20-\x7e\x80-\xff]/.test(line)) {
      throw new CulvertError('bad_request', `handshake line ${JSON.stringify(line.split(':', 1)[0])} holds a control character`);
    }
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** The connection is upgraded; `rest` are the first bytes of the WebSocket. */
export interface Upgraded {
  kind: 'upgraded';
  rest: Buffer;
}
/** The server answered otherwise. */
export interface Refused {
  kind: 'refused';
  status: number;
  code: ErrorCode;
  message: string;
  /** From Retry-After in seconds; an HTTP date there is not understood and counts as absent. */
  retryAfterMs: number | undefined;
}

const BODY_MAX = 4096;

/**
 * Reads the server's answer to our handshake from chunks of any size. For a refusal it waits for the body that
 * Content-Length announces (at most 4 KiB of it), so that the code in it can be told.
 */
export class ResponseParser {
  readonly #accept: string;
  readonly #maxBytes: number;
  #bytes = Buffer.alloc(0);
  #head: { end: number; status: number; headers: Map<string, string> } | undefined;

  /** @param maxBytes Cap of the head; default HANDSHAKE_BYTES. */
  constructor(key: string, maxBytes: number = DEFAULT_LIMITS.HANDSHAKE_BYTES) {
    this.#accept = acceptKey(key);
    this.#maxBytes = maxBytes;
  }

  /**
   * Takes the next bytes; undefined while the answer is not complete.
   *
   * @throws CulvertError `too_large` for a head over the cap, `protocol_error` for one that is no valid answer.
   */
  push(chunk: Uint8Array): Upgraded | Refused | undefined {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    if (this.#head === undefined) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end > this.#maxBytes || (end < 0 && this.#bytes.length > this.#maxBytes)) {
        throw new CulvertError('too_large', `the answer to the handshake has a head over ${this.#maxBytes} bytes`);
      }
      if (end < 0) return undefined;
      this.#head = { end: end + 4, ...parseHead(this.#bytes.toString('latin1', 0, end)) };
    }
    const { end, status, headers } = this.#head;
    if (status === 101) {
      this.#checkUpgrade(headers);
      return { kind: 'upgraded', rest: this.#bytes.subarray(end) };
    }
    const announced = Number(headers.get('content-length') ?? 0);
    const expected = Number.isSafeInteger(announced) && announced > 0 ? Math.min(announced, BODY_MAX) : 0;
    if (this.#bytes.length - end < expected) return undefined;
    return this.#refused(status, headers, this.#bytes.toString('utf8', end, end + expected));
  }

  /** The server closed the connection: what is known of its answer, or undefined when there was none. */
  end(): Refused | undefined {
    if (this.#head === undefined || this.#head.status === 101) return undefined;
    const { end, status, headers } = this.#head;
    return this.#refused(status, headers, this.#bytes.toString('utf8', end, end + BODY_MAX));
  }

  #checkUpgrade(headers: Map<string, string>): void {
    const fail = (what: string): never => {
      throw new CulvertError('protocol_error', `the answer to the handshake ${what}`);
    };
    if (headers.get('upgrade')?.toLowerCase() !== 'websocket') fail('does not name Upgrade: websocket');
    const connection =
      headers
        .get('connection')
        ?.toLowerCase()
        .split(/\s*,\s*/) ?? [];
    if (!connection.includes('upgrade')) fail('does not name Connection: Upgrade');
    if (headers.get('sec-websocket-accept') !== this.#accept) fail('has a wrong Sec-WebSocket-Accept');
    if (headers.get('sec-websocket-protocol') !== SUBPROTOCOL) fail(`does not agree on the subprotocol ${SUBPROTOCOL}`);
    if (headers.has('sec-websocket-extensions')) fail('agrees on an extension that was not offered');
  }

  #refused(status: number, headers: Map<string, string>, body: string): Refused {
    const seconds = /^[0-9]{1,6}$/.test(headers.get('retry-after') ?? '') ? Number(headers.get('retry-after')) : undefined;
    let code: ErrorCode = codeOfStatus(status);
    let message = `the server answered ${status}`;
    try {
      const parsed = JSON.parse(body) as { code?: unknown; message?: unknown } | null;
      if (typeof parsed?.code === 'string' && isErrorCode(parsed.code)) code = parsed.code;
      if (typeof parsed?.message === 'string') message = parsed.message.slice(0, 512);
    } catch {
      // Not ours, for instance a proxy's page: the status alone decides.
    }
    return { kind: 'refused', status, code, message, retryAfterMs: seconds === undefined ? undefined : seconds * 1000 };
  }
}

function parseHead(text: string): { status: number; headers: Map<string, string> } {
  const [first = '', ...lines] = text.split('\r\n');
  const match = /^HTTP\/1\.[01] ([1-5][0-9]{2})(?: |$)/.exec(first);
  if (match === null)
    throw new CulvertError('protocol_error', `the answer ${JSON.stringify(first.slice(0, 48))} is not HTTP/1.1`);
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    if (colon <= 0) throw new CulvertError('protocol_error', `header line ${JSON.stringify(line.slice(0, 48))} has no name`);
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers.set(name, headers.has(name) ? `${headers.get(name)}, ${value}` : value);
  }
  return { status: Number(match[1]), headers };
}

/** The code for a status whose body names none. */
export function codeOfStatus(status: number): ErrorCode {
  if (status === 401) return 'unauthorized';
  if (status === 403 || status === 407) return 'forbidden';
  if (status === 404) return 'not_found';
  if (status === 409) return 'name_in_use';
  if (status === 413 || status === 414 || status === 431) return 'too_large';
  if (status === 429) return 'rate_limited';
  return status >= 500 || status < 400 ? 'unavailable' : 'bad_request';
}
