import {
  ACCESS_PATH,
  CONTROL_PATH,
  DEFAULT_LIMITS,
  type ErrorCode,
  faultOfDeviceName,
  LIMITS,
  type Limits,
  type PortSpec,
  parsePortList,
  SUBPROTOCOL,
  TRANSFER_PATH,
} from '@culvert/contracts';

/** Header names in lower case, as Node's http gives them. */
export type HandshakeHeaders = Record<string, string | string[] | undefined>;

/** The handshake is refused: `renderRefusal` makes the answer of it. */
export interface Refusal {
  ok: false;
  code: ErrorCode;
  message: string;
}

interface Upgrade {
  ok: true;
  /** Sec-WebSocket-Key, as sent. */
  key: string;
  /** The bearer token; never log it. */
  token: string;
}

export interface ControlHandshake extends Upgrade {
  name: string;
  ports: PortSpec[];
  /** How many warm transfers the device would like to keep; 0 when it named no number. */
  warm: number;
  /** Largest binary frame the device takes, in bytes. */
  max_frame: number;
  /** Most transfers at once. */
  transfers: number;
  /** How many inline transfers the device would like to have; 0 when it named no number. */
  inline: number;
  /** Random id of the agent's start; empty when it sent none. */
  boot: string;
}

export interface TransferHandshake extends Upgrade {
  listener: string;
  /** The id of the dial; undefined for a warm transfer. */
  id: string | undefined;
}

export interface AccessHandshake extends Upgrade {
  listener: string;
  /** Id of the ticket; `token` is its key. */
  ticket: string;
  /** Largest binary frame the operator's side takes, in bytes. */
  max_frame: number;
}

export type HandshakePath = { kind: 'control' } | { kind: 'transfer'; listener: string };

/** Which of our two handshakes a request target asks for; undefined when it is neither. */
export function handshakePath(url: string): HandshakePath | undefined {
  const path = url.split('?', 1)[0] as string;
  if (path === CONTROL_PATH) return { kind: 'control' };
  const match = TRANSFER.exec(path);
  return match === null ? undefined : { kind: 'transfer', listener: match[1] as string };
}

/** `/v1/transfer/<listener>` or `/v1/transfer/<listener>/<id>`. */
const TRANSFER = new RegExp(`^${TRANSFER_PATH}/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:/([A-Za-z0-9_-]{1,64}))?$`);
/** `/v1/access/<listener>/<ticket>`. */
const ACCESS = new RegExp(`^${ACCESS_PATH}/([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)/([A-Za-z0-9_-]{1,64})$`);
const BOOT = /^[A-Za-z0-9_-]{11,64}$/;
/** Longest request target: 32 ports of 11 characters, a name and an id stay far below. */
const URL_MAX = 2048;
const TOKEN_MAX = 512;

/** Checks the handshake of a control connection. */
export function parseControlHandshake(
  method: string,
  url: string,
  headers: HandshakeHeaders,
  limits: Limits = DEFAULT_LIMITS,
): ControlHandshake | Refusal {
  const query = splitTarget(url);
  if (!query.ok) return query;
  if (query.path !== CONTROL_PATH) return refuse('not_found', `there is nothing at this path; expected ${CONTROL_PATH}`);
  const upgrade = parseUpgrade(method, headers);
  if (!upgrade.ok) return upgrade;
  const { parameters } = query;
  const name = parameters.get('name') ?? '';
  const nameFault = faultOfDeviceName(name);
  if (nameFault !== undefined) return refuse('bad_request', nameFault);
  const ports = parsePortList(parameters.get('ports') ?? '', limits.PORTS_PER_DEVICE);
  if (!ports.ok) return refuse('bad_request', ports.fault);
  const warm = count(parameters, 'warm', 0, 0, LIMITS.WARM_PER_DEVICE.max);
  if (typeof warm !== 'number') return warm;
  const inline = count(parameters, 'inline', 0, 0, LIMITS.INLINE_PER_DEVICE.max);
  if (typeof inline !== 'number') return inline;
  const { min, max } = LIMITS.MAX_FRAME_BYTES;
  const maxFrame = count(parameters, 'max_frame', limits.MAX_FRAME_BYTES, min, max);
  if (typeof maxFrame !== 'number') return maxFrame;
  const transfers = count(parameters, 'transfers', limits.TRANSFERS_PER_DEVICE, 1, LIMITS.TRANSFERS_PER_DEVICE.max);
  if (typeof transfers !== 'number') return transfers;
  const boot = parameters.get('boot') ?? '';
  if (boot !== '' && !BOOT.test(boot)) {
    return refuse('bad_request', `boot is ${quote(boot)}; expected 11 to 64 random characters of A-Z a-z 0-9 _ -`);
  }
  return { ...upgrade, name, ports: ports.ports, warm, max_frame: maxFrame, transfers, inline, boot };
}

/** Checks the handshake of a transfer connection: `/v1/transfer/<listener>/<id>` or `/v1/transfer/<listener>?warm=1`. */
export function parseTransferHandshake(method: string, url: string, headers: HandshakeHeaders): TransferHandshake | Refusal {
  const query = splitTarget(url);
  if (!query.ok) return query;
  const match = TRANSFER.exec(query.path);
  const id = match?.[2];
  const warm = query.parameters.get('warm') === '1';
  if (match === null || (id === undefined && !warm)) {
    return refuse('not_found', `there is nothing at this path; expected ${TRANSFER_PATH}/<listener>/<id> as the dial gave it`);
  }
  if (id !== undefined && query.parameters.has('warm')) {
    return refuse('bad_request', 'warm=1 goes with a path without an id');
  }
  const upgrade = parseUpgrade(method, headers);
  if (!upgrade.ok) return upgrade;
  return { ...upgrade, listener: match[1] as string, id };
}

/** Checks the handshake of an operator's connection to a device: `/v1/access/<listener>/<ticket>[?max_frame=<bytes>]`. */
export function parseAccessHandshake(
  method: string,
  url: string,
  headers: HandshakeHeaders,
  limits: Limits = DEFAULT_LIMITS,
): AccessHandshake | Refusal {
  const query = splitTarget(url);
  if (!query.ok) return query;
  const match = ACCESS.exec(query.path);
  if (match === null) {
    return refuse('not_found', `there is nothing at this path; expected ${ACCESS_PATH}/<listener>/<ticket> as it was granted`);
  }
  const upgrade = parseUpgrade(method, headers);
  if (!upgrade.ok) return upgrade;
  const { min, max } = LIMITS.MAX_FRAME_BYTES;
  const maxFrame = count(query.parameters, 'max_frame', limits.MAX_FRAME_BYTES, min, max);
  if (typeof maxFrame !== 'number') return maxFrame;
  return { ...upgrade, listener: match[1] as string, ticket: match[2] as string, max_frame: maxFrame };
}

/** What every handshake needs: RFC 6455 upgrade headers, our subprotocol, a bearer token. */
function parseUpgrade(method: string, headers: HandshakeHeaders): Upgrade | Refusal {
  if (method !== 'GET') return refuse('bad_request', `method is ${quote(method)}; expected GET`);
  if (!tokens(headers.upgrade).includes('websocket')) {
    return refuse('bad_request', 'header Upgrade is missing; expected websocket');
  }
  if (!tokens(headers.connection).includes('upgrade')) {
    return refuse('bad_request', 'header Connection does not name Upgrade; expected Connection: Upgrade');
  }
  if (single(headers['sec-websocket-version']) !== '13') {
    return refuse('bad_request', 'header Sec-WebSocket-Version is missing or unknown; expected 13');
  }
  const key = single(headers['sec-websocket-key']);
  if (key === undefined || !/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(key)) {
    return refuse('bad_request', 'header Sec-WebSocket-Key is missing or wrong; expected 16 random bytes in base64');
  }
  if (!tokens(headers['sec-websocket-protocol']).includes(SUBPROTOCOL)) {
    return refuse('bad_request', `header Sec-WebSocket-Protocol does not offer ${SUBPROTOCOL}`);
  }
  const bearer = /^bearer +([A-Za-z0-9._~+/-]+=*)$/i.exec(single(headers.authorization) ?? '');
  const token = bearer?.[1];
  if (token === undefined || token.length > TOKEN_MAX) {
    return refuse('unauthorized', 'header Authorization is missing or malformed; expected Bearer and the device token');
  }
  return { ok: true, key, token };
}

type Target = { ok: true; path: string; parameters: Map<string, string> } | Refusal;

/** Path and query of a request target, bounded; no query parameter stands twice. */
export function splitTarget(url: string): Target {
  if (url.length > URL_MAX) {
    return refuse('too_large', `the request target has ${url.length} characters; expected at most ${URL_MAX}`);
  }
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const parameters = new Map<string, string>();
  for (const pair of mark < 0 ? [] : url.slice(mark + 1).split('&')) {
    if (pair === '') continue;
    const equals = pair.indexOf('=');
    let name: string;
    let value: string;
    try {
      name = decodeURIComponent(equals < 0 ? pair : pair.slice(0, equals));
      value = equals < 0 ? '' : decodeURIComponent(pair.slice(equals + 1));
    } catch {
      return refuse('bad_request', `query part ${quote(pair)} is not percent-encoded UTF-8`);
    }
    if (parameters.has(name)) return refuse('bad_request', `query parameter ${quote(name)} is given twice; expected once`);
    parameters.set(name, value);
  }
  return { ok: true, path, parameters };
}

function count(parameters: Map<string, string>, name: string, fallback: number, min: number, max: number): number | Refusal {
  const text = parameters.get(name);
  if (text === undefined) return fallback;
  const value = /^[0-9]{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  return refuse('bad_request', `${name} is ${quote(text)}; expected a whole number from ${min} to ${max}`);
}

function tokens(value: string | string[] | undefined): string[] {
  const text = Array.isArray(value) ? value.join(',') : (value ?? '');
  return text.split(',').map((token) => token.trim().toLowerCase());
}

function single(value: string | string[] | undefined): string | undefined {
  return typeof value === 'string' ? value.trim() : undefined;
}

function refuse(code: ErrorCode, message: string): Refusal {
  return { ok: false, code, message };
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}
