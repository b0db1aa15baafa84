import { formatDuration } from '@culvert/contracts';
import type { Env } from '@culvert/service-kit';
import type { ServiceName } from './replicas.ts';
import type { ServedTls } from './served-tls.ts';
import type { StackSettings } from './settings.ts';

/** What a child takes from our own environment: where things are, nothing that configures Culvert. */
const PASSED = ['PATH', 'HOME', 'LANG', 'TZ', 'TMPDIR', 'NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS'];

export function baseEnv(env: Env): Record<string, string> {
  return passed(PASSED, env);
}

function passed(names: readonly string[], env: Env = process.env): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

/** Every limit, as it stands after all settings: services need not know which were set. */
export function limitsEnv(settings: StackSettings): Record<string, string> {
  return Object.fromEntries(Object.entries(settings.limits).map(([name, value]) => [`CULVERT_LIMIT_${name}`, String(value)]));
}

export interface ServiceAddresses {
  redisUrl: string;
  natsUrl: string;
  edgeSecret: string;
  adminToken: string;
  /** Port of the REST API of this instance of admin. */
  adminPort: number;
  /** Public ports of this tcp-listener. */
  ports: readonly [number, number] | undefined;
  tls: ServedTls | undefined;
}

/** The whole configuration of one service process. */
export function serviceEnv(
  service: ServiceName,
  id: string,
  settings: StackSettings,
  addresses: ServiceAddresses,
): Record<string, string> {
  const { tls } = addresses;
  const heartbeat = formatDuration(settings.heartbeatMs);
  const special: Record<ServiceName, Record<string, string>> = {
    'lease-manager': { CULVERT_PUBLIC_HOST: settings.domain, CULVERT_ACCESS: settings.access },
    'port-allocator': {},
    'ws-ingress': { CULVERT_HEARTBEAT: heartbeat, CULVERT_PUBLIC_HOST: settings.domain },
    'tcp-listener': {
      CULVERT_HEARTBEAT: heartbeat,
      CULVERT_EDGE_SECRET: addresses.edgeSecret,
      ...publishing(tls),
      ...(addresses.ports === undefined ? {} : { CULVERT_TCP_PORTS: addresses.ports.join('-') }),
    },
    admin: {
      ...passed(['CULVERT_WEBHOOK_PRIVATE']),
      CULVERT_ADMIN_TOKEN: addresses.adminToken,
      CULVERT_ACCESS: settings.access,
      CULVERT_EDGE_URL: `http${tls === undefined ? '' : 's'}://127.0.0.1:${tls?.edge.port ?? settings.port}`,
      CULVERT_LISTEN_HOST: '127.0.0.1',
      CULVERT_LISTEN_PORT: String(addresses.adminPort),
      CULVERT_PUBLIC_HOST: settings.domain,
      ...(tls?.admin === undefined ? {} : { CULVERT_TLS_CERT_FILE: tls.admin.certificate, CULVERT_TLS_KEY_FILE: tls.admin.key }),
    },
  };
  return {
    ...baseEnv(process.env),
    ...limitsEnv(settings),
    CULVERT_INSTANCE_ID: id,
    CULVERT_REDIS_URL: addresses.redisUrl,
    CULVERT_NATS_URL: addresses.natsUrl,
    CULVERT_DOMAIN: settings.domain,
    CULVERT_PUBLIC_PORT: String(tls?.edge.port ?? settings.port),
    CULVERT_PUBLIC_SCHEME: tls === undefined ? 'http' : 'https',
    CULVERT_LOG_LEVEL: settings.logLevel,
    ...(settings.otlpUrl === undefined ? {} : { CULVERT_OTLP_URL: settings.otlpUrl }),
    ...special[service],
  };
}

/** Where the one listener of a local stack is published; with the edge's certificate where there is one and devices come by wss. */
function publishing(tls: ServedTls | undefined): Record<string, string> {
  const told = passed(['CULVERT_TRANSFER_URL', 'CULVERT_TRANSFER_PORT']);
  if (tls === undefined || told.CULVERT_TRANSFER_PORT === undefined || told.CULVERT_TRANSFER_URL?.startsWith('ws:')) return told;
  return { ...told, CULVERT_TLS_CERT_FILE: tls.edge.certificate, CULVERT_TLS_KEY_FILE: tls.edge.key };
}
