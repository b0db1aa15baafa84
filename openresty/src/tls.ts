import type { Machine } from './machine.ts';

/** TLS at the edge, beside the plain port. */
export interface EdgeTls {
  /** Port of TLS, on all addresses of the machine; another one than the plain port. */
  port: number;
  /** The port as visitors and devices know it, where another machine passes it on; default `port`. */
  publicPort?: number;
  /** Absolute path of a PEM file: the chain for `*.<domain>` and `<domain>`, leaf first. Read when nginx starts or gets SIGHUP. */
  certificate: string;
  /** Absolute path of its private key (PEM). Only nginx's master reads it: mode 0600 is right. */
  key: string;
  /**
   * Absolute paths of files of 80 random bytes (or 48) that encrypt session tickets: the first makes them, the others still
   * read those made before. The same at all edges, so that a device resumes at any. Default none: no tickets.
   */
  ticketKeys?: readonly string[];
  /** What the plain port does with visitors: send them to TLS (default) or serve them. */
  plain?: 'redirect' | 'serve';
  /** Whether devices may come without TLS; default false: they are refused with 403. */
  plainDevices?: boolean;
  /** Absolute path of the authority (PEM) of the admin API, where that speaks TLS; default: it speaks plain HTTP. */
  adminCa?: string;
  /** Strict-Transport-Security with this max-age, in milliseconds; default 0: the header is not sent. */
  hstsMs?: number;
}

const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;
/** A `$` in it would make nginx read the file at every handshake, as a user that may not. */
const PATH = /^\/[A-Za-z0-9 ._~/@+:,=-]+$/;

export function faultsOfTls(tls: EdgeTls, plainPort: number): string[] {
  const faults: string[] = [];
  if (!isPort(tls.port) || tls.port === plainPort) {
    faults.push(`tls.port ${tls.port}: expected 1 to 65535, and another one than port ${plainPort}`);
  }
  if (tls.publicPort !== undefined && !isPort(tls.publicPort)) {
    faults.push(`tls.publicPort ${tls.publicPort}: expected 1 to 65535`);
  }
  for (const path of tls.ticketKeys ?? []) {
    if (!PATH.test(path)) faults.push(`tls.ticketKeys has ${JSON.stringify(path)}: expected absolute paths of files`);
  }
  for (const name of ['certificate', 'key', 'adminCa'] as const) {
    if (tls[name] === undefined || PATH.test(tls[name])) continue;
    faults.push(
      `tls.${name} ${JSON.stringify(tls[name])}: expected the absolute path of a PEM file, without quotes, $ or other signs`,
    );
  }
  const { hstsMs = 0 } = tls;
  if (!(Number.isInteger(hstsMs) && hstsMs >= 0)) faults.push(`tls.hstsMs ${hstsMs}: expected milliseconds, 0 or more`);
  return faults;
}

/** `listen` lines of TLS. OpenResty (1.25.3 and newer) has a directive of its own for HTTP/2, Debian's nginx has it here. */
export function tlsListenLines(tls: EdgeTls, machine: Machine, openresty: boolean): string[] {
  const addresses = [`0.0.0.0:${tls.port} ssl`, ...(machine.ipv6 ? [`[::]:${tls.port} ssl ipv6only=on`] : [])];
  return openresty
    ? [...addresses.map((address) => `    listen ${address};`), '    http2 on;']
    : addresses.map((address) => `    listen ${address} http2;`);
}

/** Lines about session tickets. */
export function ticketLines({ ticketKeys = [] }: EdgeTls): string {
  if (ticketKeys.length === 0) return '    ssl_session_tickets off;';
  return ['    ssl_session_tickets on;', ...ticketKeys.map((path) => `    ssl_session_ticket_key "${path}";`)].join('\n');
}

/** What the Lua modules are told; empty without TLS. */
export function tlsForLua(tls: EdgeTls | undefined): string {
  if (tls === undefined) return '';
  const seconds = Math.floor((tls.hstsMs ?? 0) / 1000);
  return [
    `      tls_port = ${tls.publicPort ?? tls.port},`,
    `      tls_certificate = '${tls.certificate}',`,
    `      redirect = ${(tls.plain ?? 'redirect') === 'redirect'},`,
    `      plain_devices = ${tls.plainDevices ?? false},`,
    ...(seconds > 0 ? [`      hsts_s = ${seconds},`] : []),
    '',
  ].join('\n');
}
