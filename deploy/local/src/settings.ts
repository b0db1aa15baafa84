import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  formatDuration,
  HEARTBEAT_DEFAULT_MS,
  HEARTBEAT_MAX_MS,
  HEARTBEAT_MIN_MS,
  type LimitName,
  type Limits,
} from '@culvert/contracts';
import { type Env, loadConfig, type Reader, type Setting, setting } from '@culvert/service-kit';
import { ONE_EACH, type Replicas, readReplicas } from './replicas.ts';
import { faultsOfTls, TLS_SETTINGS, type TlsSettings, tlsOf } from './tls-settings.ts';

/** What the operator of a local stack chose. */
export interface StackSettings {
  /** Port of the edge, on all addresses. */
  port: number;
  domain: string;
  /** First and last public port. */
  tcpPorts: readonly [number, number];
  /** Absolute. */
  stateDir: string;
  heartbeatMs: number;
  demo: boolean;
  replicas: Replicas;
  logLevel: string;
  /** Devices' pages, where nothing else is said of a device. */
  access: 'public' | 'private';
  /** Base of an OTLP/HTTP collector; undefined: no traces. */
  otlpUrl: string | undefined;
  /** Undefined: none. */
  tls: TlsSettings | undefined;
  limits: Limits;
}

/** A folder, or a path where one can be made. */
const folder: Reader<string> = (text) => {
  const path = resolve(text);
  const expected = 'a folder, or a path where one can be made';
  try {
    return statSync(path).isDirectory() ? { value: path } : { expected };
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? { value: path } : { expected };
  }
};

const SETTINGS = {
  CULVERT_PORT: { read: setting.port(), fallback: 8080 },
  CULVERT_DOMAIN: { read: setting.domain(), fallback: 'culvert.localhost' },
  CULVERT_TCP_PORTS: { read: setting.portRange(), fallback: [20_000, 20_999] as readonly [number, number] },
  CULVERT_STATE_DIR: { read: folder, fallback: resolve('.culvert') },
  CULVERT_HEARTBEAT: { read: setting.duration(HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS), fallback: HEARTBEAT_DEFAULT_MS },
  CULVERT_DEMO: { read: setting.flag(), fallback: true },
  CULVERT_REPLICAS: { read: readReplicas, fallback: ONE_EACH },
  CULVERT_LOG_LEVEL: {
    read: setting.text(/^(?:trace|debug|info|warn|error)$/, 'trace, debug, info, warn or error'),
    fallback: 'info',
  },
  CULVERT_ACCESS: { read: setting.text(/^(?:public|private)$/, 'public or private'), fallback: 'public' },
  CULVERT_OTLP_URL: {
    read: setting.text(
      /^http:\/\/[^/\s'\\]+\/?$/,
      'the address of an OTLP/HTTP collector such as http://127.0.0.1:4318, without a path',
    ),
    fallback: '',
  },
  ...TLS_SETTINGS,
} as const satisfies Record<string, Setting<unknown>>;

/**
 * Reads and checks all settings of a local stack.
 * @throws ConfigError that names every fault, with the variable, its value and what would be right.
 */
export function loadSettings(env: Env = process.env): StackSettings {
  const { values, limits } = loadConfig(SETTINGS, env, (loaded, loadedLimits) => [
    ...faultsOfPorts(loaded.CULVERT_PORT, loaded.CULVERT_TCP_PORTS, loaded.CULVERT_REPLICAS),
    ...faultsOfTls(loaded, loaded.CULVERT_PORT, loaded.CULVERT_TCP_PORTS),
    ...faultsOfTransfers(env, loaded.CULVERT_REPLICAS),
    ...faultsOfLimits(loadedLimits),
  ]);
  return Object.freeze({
    port: values.CULVERT_PORT,
    domain: values.CULVERT_DOMAIN,
    tcpPorts: values.CULVERT_TCP_PORTS,
    stateDir: values.CULVERT_STATE_DIR,
    heartbeatMs: values.CULVERT_HEARTBEAT,
    // The demo device would have to find this machine by the name in the operator's certificate: only when asked for.
    demo: values.CULVERT_DEMO && (values.CULVERT_TLS !== 'files' || Boolean(env.CULVERT_DEMO)),
    replicas: values.CULVERT_REPLICAS,
    logLevel: values.CULVERT_LOG_LEVEL,
    access: values.CULVERT_ACCESS === 'private' ? 'private' : 'public',
    otlpUrl: values.CULVERT_OTLP_URL || undefined,
    tls: tlsOf(values),
    limits,
  });
}

function faultsOfPorts(port: number, [first, last]: readonly [number, number], replicas: Replicas): string[] {
  const faults: string[] = [];
  if (port >= first && port <= last) {
    faults.push(`CULVERT_PORT=${port} lies within CULVERT_TCP_PORTS=${first}-${last}; expected a port outside of it`);
  }
  const listeners = replicas['tcp-listener'];
  if (last - first + 1 < listeners) {
    faults.push(`CULVERT_TCP_PORTS=${first}-${last} has fewer ports than tcp-listeners; expected at least ${listeners}`);
  }
  return faults;
}

/** Where the one listener is published, which looks at the rest itself. */
function faultsOfTransfers(env: Env, { 'tcp-listener': listeners }: Replicas): string[] {
  if (listeners === 1) return [];
  return ['CULVERT_TRANSFER_URL', 'CULVERT_TRANSFER_PORT']
    .filter((name) => Boolean(env[name]))
    .map(
      (name) => `${name}=${env[name]} is that of one listener; expected one tcp-listener in CULVERT_REPLICAS, not ${listeners}`,
    );
}

/** Limits that make sense only beside each other. */
function faultsOfLimits(limits: Limits): string[] {
  const faults: string[] = [];
  // What the edge remembers must be forgotten before the port goes to another device.
  const stale = limits.ROUTE_STALE_MS + limits.EDGE_KEEPALIVE_MS;
  if (stale >= limits.COOL_DOWN_MS) {
    faults.push(
      `CULVERT_LIMIT_ROUTE_STALE_MS plus CULVERT_LIMIT_EDGE_KEEPALIVE_MS is ${formatDuration(stale)}; ` +
        `expected less than CULVERT_LIMIT_COOL_DOWN_MS, which is ${formatDuration(limits.COOL_DOWN_MS)}`,
    );
  }
  // A probe fits into an acquisition, and that into a handshake and into the time after which a tenure falls back.
  const pairs: [LimitName, LimitName][] = [
    ['PROBE_MS', 'ACQUIRE_MS'],
    ['ACQUIRE_MS', 'HANDSHAKE_MS'],
    ['ACQUIRE_MS', 'TENURE_CONFIRM_MS'],
  ];
  for (const [shorter, longer] of pairs) {
    if (limits[shorter] < limits[longer]) continue;
    faults.push(
      `CULVERT_LIMIT_${shorter} is ${formatDuration(limits[shorter])}; ` +
        `expected less than CULVERT_LIMIT_${longer}, which is ${formatDuration(limits[longer])}`,
    );
  }
  return faults;
}
