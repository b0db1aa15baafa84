import { CulvertError, DEFAULT_LIMITS, faultOfDeviceName, LIMITS, type Limits, SCHEMES } from '@culvert/contracts';
import { faultOfPin } from '@culvert/relay';
import { BACKOFF, type BackoffPolicy } from '@culvert/wire';
import { formatMapping, type Mapping, parseMapping } from './mapping.ts';

/** A browser opens about as many connections at once. */
const WARM_DEFAULT = 16;

/** Limits of `@culvert/contracts` that an agent reads; all in milliseconds. */
export type AgentLimits = Pick<
  Limits,
  'HANDSHAKE_MS' | 'LOCAL_CONNECT_MS' | 'LINGER_MS' | 'WRITE_MS' | 'CLOSE_MS' | 'STOP_MS' | 'MEND_REST_MS' | 'TLS_SESSION_MS'
>;

export interface AgentOptions {
  /** Origins of the server, tried in turn: `https://culvert.example`, also http, ws and wss. At least one. */
  servers: string[];
  /** The device's name: a DNS label. */
  name: string;
  /** The device token, or what gives it; a function is asked before every control connection, so that tokens can be rotated. */
  token: string | (() => string | Promise<string>);
  /** What the device offers: 1 to 32, port numbers unique. Nothing else is ever connected. */
  mappings: Mapping[];
  /** What operators may connect to besides (`culvert forward`), where their rights on the server allow it: no public port, no host name. Port numbers other than those of the mappings. Default: nothing. */
  forwards?: Mapping[];
  /** HTTP proxy for all connections to the server, `http://[user:password@]host:port`; null: none. Default: HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment. */
  proxy?: string | null;
  /** Certificates (PEM) to trust besides those of Node. Certificates are always verified. */
  ca?: string;
  /** Keys of which the server must have one, besides a verified certificate: `sha256/<base64 of the digest of its SPKI>`. Default: any. */
  pins?: string[];
  /** Most warm transfers to keep waiting, as visitors need them and the server grants them: they are served without a dial. 0 to 64, default 16, or 0 with `inline`. */
  warm?: number;
  /**
   * Inline transfers to ask for, 0 to 64: so many visitors are served on the control connection itself, for devices that can afford one
   * connection only. Default 0: each visitor has a connection of its own.
   */
  inline?: number;
  /** Most transfers at once, waiting warm ones included; dials beyond are refused as `busy`. 1 to 10,000, default 256, or as many as `inline`. */
  transfers?: number;
  /** Largest binary message to receive, in bytes: 125 to 1 MiB, default 256 KiB: one read of the relay is one message. */
  maxFrame?: number;
  limits?: Partial<AgentLimits>;
  /** Pace of reconnection. Default: the one of the protocol. */
  backoff?: Partial<BackoffPolicy>;
  /** Gets one entry per life (a control connection, a transfer), never a token. */
  log?: (entry: { event: string } & Record<string, unknown>) => void;
}

/** Options with every default filled in. */
export interface Settings {
  servers: URL[];
  name: string;
  token: () => string | Promise<string>;
  mappings: ReadonlyMap<number, Mapping>;
  forwards: ReadonlyMap<number, Mapping>;
  proxy: string | null | undefined;
  ca: string | undefined;
  pins: readonly string[] | undefined;
  warm: number;
  inline: number;
  transfers: number;
  maxFrame: number;
  limits: Limits;
  backoff: BackoffPolicy;
  log: (entry: { event: string } & Record<string, unknown>) => void;
}

/**
 * Fills the defaults in.
 *
 * @throws CulvertError `bad_request` that names every fault at once.
 */
export function settingsOf(options: AgentOptions): Settings {
  const faults = faultsOfOptions(options);
  if (faults.length > 0) throw new CulvertError('bad_request', faults.join('; '));
  const { token, inline = 0 } = options;
  return {
    servers: options.servers.map((server) => new URL(server)),
    name: options.name,
    token: typeof token === 'string' ? () => token : token,
    mappings: new Map(options.mappings.map((mapping) => [mapping.port, mapping])),
    forwards: new Map(options.forwards?.map((mapping) => [mapping.port, mapping])),
    proxy: options.proxy,
    ca: options.ca,
    pins: options.pins,
    inline,
    warm: options.warm ?? (inline > 0 ? 0 : WARM_DEFAULT),
    transfers: options.transfers ?? (inline > 0 ? inline : DEFAULT_LIMITS.TRANSFERS_PER_DEVICE),
    maxFrame: options.maxFrame ?? DEFAULT_LIMITS.TRANSFER_BUFFER_BYTES,
    limits: { ...DEFAULT_LIMITS, ...options.limits },
    backoff: { ...BACKOFF, ...options.backoff },
    log: options.log ?? (() => {}),
  };
}

/** Everything that is wrong with the options, each with what would be right; empty when nothing is. */
export function faultsOfOptions(options: AgentOptions): string[] {
  const faults: string[] = [];
  if (options.servers.length === 0) faults.push('servers is empty; expected at least one URL such as https://culvert.example');
  for (const server of options.servers) {
    const fault = faultOfServer(server);
    if (fault !== undefined) faults.push(fault);
  }
  const nameFault = faultOfDeviceName(options.name);
  if (nameFault !== undefined) faults.push(nameFault);
  if (typeof options.token === 'string' && !isToken(options.token)) {
    faults.push('token is empty or holds other characters than A-Z a-z 0-9 . _ ~ + / - =; expected the token of device add');
  }
  faults.push(...faultsOfMappings(options.mappings));
  for (const { port } of options.forwards ?? []) {
    if (!options.mappings.some((mapping) => mapping.port === port)) continue;
    faults.push(`forwards name port ${port}, which is a mapping: operators may use that anyway`);
  }
  if (typeof options.proxy === 'string') {
    const fault = faultOfProxy(options.proxy);
    if (fault !== undefined) faults.push(fault);
  }
  faults.push(...faultsOfPins(options));
  const whole = (name: string, value: number | undefined, min: number, max: number): void => {
    if (value === undefined || (Number.isInteger(value) && value >= min && value <= max)) return;
    faults.push(`${name} is ${value}; expected a whole number from ${min} to ${max}`);
  };
  whole('warm', options.warm, 0, LIMITS.WARM_PER_DEVICE.max);
  whole('inline', options.inline, 0, LIMITS.INLINE_PER_DEVICE.max);
  whole('transfers', options.transfers, 1, LIMITS.TRANSFERS_PER_DEVICE.max);
  whole('maxFrame', options.maxFrame, LIMITS.MAX_FRAME_BYTES.min, LIMITS.MAX_FRAME_BYTES.max);
  for (const [name, value] of Object.entries(options.limits ?? {})) {
    if (Object.hasOwn(LIMITS, name)) whole(`limits.${name}`, value, 1, LIMITS[name as keyof AgentLimits].max);
  }
  return faults;
}

/** Whether the text can stand in an Authorization header as a bearer token. */
export function isToken(text: string): boolean {
  return text.length <= 512 && /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

export function faultsOfPins({ pins, servers }: Pick<AgentOptions, 'pins' | 'servers'>): string[] {
  if (pins === undefined) return [];
  const faults = pins.map(faultOfPin).filter((fault) => fault !== undefined);
  if (pins.length === 0) faults.push('pins is empty; expected at least one, such as sha256/ and 44 characters of base64');
  // A pin that is not looked at would be worse than none.
  for (const server of servers.filter((text) => /^(?:http|ws):/i.test(text))) {
    faults.push(`server ${show(server)} has no key to be pinned; expected https or wss`);
  }
  return faults;
}

function faultsOfMappings(mappings: readonly Mapping[]): string[] {
  const most = LIMITS.PORTS_PER_DEVICE.max;
  if (mappings.length < 1 || mappings.length > most) {
    return [`mappings has ${mappings.length} entries; expected 1 to ${most}, each like 80 or tcp:22=192.168.1.7:22`];
  }
  const faults: string[] = [];
  const seen = new Set<number>();
  for (const mapping of mappings) {
    const parsed = parseMapping(formatMapping(mapping));
    if (!parsed.ok) faults.push(parsed.fault);
    else if (!SCHEMES.includes(mapping.scheme))
      faults.push(`scheme ${mapping.scheme} is unknown; expected ${SCHEMES.join(', ')}`);
    if (seen.has(mapping.port)) faults.push(`mappings name port ${mapping.port} twice; expected every port number once`);
    seen.add(mapping.port);
  }
  return faults;
}

/** What is wrong with the address of a server; undefined when it is an origin. */
export function faultOfServer(server: string): string | undefined {
  const expected = 'expected an origin such as https://culvert.example or http://127.0.0.1:8080';
  const url = URL.canParse(server) ? new URL(server) : undefined;
  if (url === undefined || !/^(https?|wss?):$/.test(url.protocol) || url.hostname === '') {
    return `server ${show(server)} is not a URL of http, https, ws or wss; ${expected}`;
  }
  if (url.username !== '' || url.password !== '')
    return `server ${url.origin} carries credentials; the token goes elsewhere, ${expected}`;
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') return `server ${show(server)} has a path; ${expected}`;
  return undefined;
}

/** What is wrong with a proxy's URL; its credentials are not repeated. */
export function faultOfProxy(proxy: string): string | undefined {
  const url = URL.canParse(proxy) ? new URL(proxy) : undefined;
  if (url?.protocol === 'http:' && url.hostname !== '') return undefined;
  const given = url === undefined ? 'no URL' : `${url.protocol}//${url.host}`;
  return `proxy is ${given}; expected http://[user:password@]host:port`;
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 128));
}
