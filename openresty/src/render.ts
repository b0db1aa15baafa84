import { readdirSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { parseStoreAddress } from '@culvert/contracts';
import { type Machine, thisMachine } from './machine.ts';
import { checkEdgeSettings, type EdgeSettings } from './settings.ts';
import { ticketLines, tlsForLua, tlsListenLines } from './tls.ts';

const HOME = join(import.meta.dirname, '..');
const MOST_CONNECTIONS = 16_384;
const DEBIAN_MODULES = '/usr/lib/nginx/modules';

const template = (name: string): string => readFileSync(join(HOME, `${name}.template`), 'utf8');

function fill(text: string, values: Readonly<Record<string, string | number>>): string {
  return text.replaceAll(/\{\{([a-z0-9_]+)\}\}/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`the template names {{${name}}}, which has no value`);
    return String(value);
  });
}

/** Redis by name needs a resolver; nginx does not read /etc/resolv.conf itself. */
function resolverLine(redisUrl: string, otlpUrl: string | undefined, machine: Machine): string {
  const address = parseStoreAddress(redisUrl);
  const hosts =
    address?.kind === 'sentinel'
      ? address.sentinels.map(({ host }) => host)
      : [new URL(redisUrl).hostname.replace(/^\[|\]$/g, '')];
  if (otlpUrl !== undefined) hosts.push(new URL(otlpUrl).hostname.replace(/^\[|\]$/g, ''));
  const named = hosts.find((host) => isIP(host) === 0 && host !== 'localhost');
  if (machine.nameservers.length === 0) {
    if (named === undefined) return '';
    throw new Error(`redisUrl or otlpUrl names the host ${named}, but /etc/resolv.conf has no nameserver`);
  }
  // Sentinels given by address may still name the primary by its host name.
  if (named === undefined && address?.kind !== 'sentinel') return '';
  return `\n  resolver ${machine.nameservers.join(' ')} valid=10s${machine.ipv6 ? '' : ' ipv6=off'};\n  resolver_timeout 2s;\n`;
}

/** Where the workers send their spans; nothing without a collector. */
function otlpForLua(otlpUrl: string | undefined): string {
  if (otlpUrl === undefined) return '';
  const { hostname, port } = new URL(otlpUrl);
  const host = hostname === 'localhost' ? '127.0.0.1' : hostname; // nginx resolves names by DNS only
  return `      otlp_host = '${host}', otlp_port = ${port === '' ? 80 : port}, otlp_path = '/v1/traces',\n`;
}

const listenAddress = (host: string, port: number): string => `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;

function luaFiles(): Record<string, string> {
  const folder = join(HOME, 'lua', 'culvert');
  const names = readdirSync(folder).filter((name) => name.endsWith('.lua'));
  return Object.fromEntries(names.map((name) => [`lua/culvert/${name}`, readFileSync(join(folder, name), 'utf8')]));
}

/**
 * All files of an edge's prefix folder, by relative path: configuration and Lua modules, no secret. Throws a CulvertError
 * `bad_request` that names every fault of the settings.
 */
export function renderEdgeConfig(settings: EdgeSettings, machine: Machine = thisMachine()): Record<string, string> {
  const limits = checkEdgeSettings(settings);
  const modules = ['ndk_http_module.so', 'ngx_http_lua_module.so'].map((name) => `load_module ${DEBIAN_MODULES}/${name};\n`);
  const { tls } = settings;
  const listen = [
    ...[`0.0.0.0:${settings.port}`, ...(machine.ipv6 ? [`[::]:${settings.port} ipv6only=on`] : [])].map(
      (address) => `    listen ${address};`,
    ),
    ...(tls === undefined ? [] : tlsListenLines(tls, machine, settings.target === 'openresty')),
  ];
  const values = {
    modules: settings.target === 'openresty' ? '' : modules.join(''),
    user: machine.root ? `user ${machine.workerUser(settings.user)};\n` : '',
    workers: settings.workers ?? 'auto',
    connections: Math.min(MOST_CONNECTIONS, machine.openFiles),
    log_level: settings.logLevel ?? 'warn',
    resolver: resolverLine(settings.redisUrl, settings.otlpUrl, machine),
    listen: listen.join('\n'),
    tls:
      tls === undefined
        ? ''
        : fill(template('tls.conf'), { certificate: tls.certificate, key: tls.key, tickets: ticketLines(tls) }),
    lua_tls: tlsForLua(tls),
    lua_otlp: otlpForLua(settings.otlpUrl),
    health_listen: listenAddress(settings.healthHost ?? '127.0.0.1', settings.healthPort),
    domain: settings.domain,
    access: settings.access ?? 'public',
    route_age_ms: limits.ROUTE_AGE_MS,
    route_stale_ms: limits.ROUTE_STALE_MS,
    keepalive_ms: limits.EDGE_KEEPALIVE_MS,
    retry_ms: limits.EDGE_RETRY_MS,
    // Next instance only within the retry time; 0 would mean no bound to nginx.
    retry_total_ms: Math.max(1, limits.EDGE_RETRY_MS),
    store_ms: limits.EDGE_STORE_MS,
    unknown_names: limits.EDGE_UNKNOWN_NAMES,
    failed_handshakes: limits.EDGE_FAILED_HANDSHAKES,
    handshakes: limits.EDGE_HANDSHAKES_PER_ADDRESS,
    requests_per_address: limits.EDGE_REQUESTS_PER_ADDRESS,
    requests_per_device: limits.EDGE_REQUESTS_PER_DEVICE,
    too_fast_ms: limits.EDGE_TOO_FAST_MS,
    visitors_per_address: limits.EDGE_VISITORS_PER_ADDRESS,
    reports: limits.EDGE_REPORTS,
    visitors_kept: limits.VISITORS_KEPT,
    visitors_kept_ms: limits.VISITORS_KEPT_MS,
    connect_ms: limits.EDGE_CONNECT_MS,
    stream_ms: limits.EDGE_STREAM_MS,
    answer_ms: limits.EDGE_ANSWER_MS,
    control_ms: limits.EDGE_CONTROL_MS,
    transfer_ms: limits.EDGE_TRANSFER_MS,
    // nginx hears of room only when a third of the kernel's buffer is free: 1.4 MB, which a reader of 10 kB/s takes 140 s for.
    write_ms: limits.WRITE_MS * 4,
    handshake_ms: limits.HANDSHAKE_MS,
    handshake_bytes: limits.HANDSHAKE_BYTES,
    wind_down_ms: limits.WIND_DOWN_MS,
    keepalive_time_ms: Math.floor(limits.WIND_DOWN_MS / 2),
  };
  const rendered = ['nginx.conf', 'visitor.conf', 'device.conf'].map((name): [string, string] => [
    name,
    fill(template(name), values),
  ]);
  const device = fill(template('device.conf'), values);
  const admin =
    tls?.adminCa === undefined
      ? device
      : device.replace(/^proxy_pass .*\n/m, () => fill(template('admin.conf'), { admin_ca: tls.adminCa ?? '' }));
  return { ...Object.fromEntries(rendered), 'admin.conf': admin, ...luaFiles() };
}
