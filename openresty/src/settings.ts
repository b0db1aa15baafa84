import { isIP } from 'node:net';
import { CulvertError, DEFAULT_LIMITS, type Limits, parseStoreAddress } from '@culvert/contracts';
import { type EdgeTls, faultsOfTls } from './tls.ts';

/** How one edge (one nginx) is to be run. */
export interface EdgeSettings {
  /** Absolute path of a folder that belongs to this edge alone: configuration, logs, pid. Made when absent. */
  prefix: string;
  /** Public port, on all addresses of the machine, IPv4 and IPv6. */
  port: number;
  /** `GET /healthz` and `/metrics`. */
  healthPort: number;
  /** Where those are served: an address that only our own may reach; default 127.0.0.1. */
  healthHost?: string;
  /** Devices' names are `<label>.<domain>`. */
  domain: string;
  /** `redis://[user][:password]@host[:port][/db]`, or `redis+sentinel://[user][:password]@host[:port],.../<name of the primary>`. */
  redisUrl: string;
  /** Shared with the listeners; at least 16 characters. */
  edgeSecret: string;
  /** TLS beside the plain port; default none. */
  tls?: EdgeTls;
  /** Whether devices' pages are open to everybody where nothing else is said of a device; default public. */
  access?: 'public' | 'private';
  /** Base of an OTLP/HTTP collector for traces of visitors, by plain http; default none. */
  otlpUrl?: string;
  /** Limits that differ from the defaults. */
  limits?: Partial<Limits>;
  /** Worker processes; default one per core. */
  workers?: number;
  /** Least severe message that goes to logs/error.log; default `warn`. */
  logLevel?: EdgeLogLevel;
  /** Whose nginx it is: Debian's with modules to be loaded, or OpenResty; default `debian`. */
  target?: EdgeTarget;
  /** The nginx program; default by target. */
  binary?: string;
  /** User of the workers when started as root; default www-data, else nobody. */
  user?: string;
}

export const EDGE_LOG_LEVELS = ['debug', 'info', 'notice', 'warn', 'error'] as const;
export type EdgeLogLevel = (typeof EDGE_LOG_LEVELS)[number];
export type EdgeTarget = 'debian' | 'openresty';

const DOMAIN = /^(?=.{1,190}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;

function faultsOf(settings: EdgeSettings, limits: Limits): string[] {
  const faults: string[] = [];
  const isPort = (port: number): boolean => Number.isInteger(port) && port >= 1 && port <= 65_535;
  if (!settings.prefix.startsWith('/')) faults.push(`prefix ${JSON.stringify(settings.prefix)}: expected an absolute path`);
  if (!isPort(settings.port)) faults.push(`port ${settings.port}: expected 1 to 65535`);
  if (!isPort(settings.healthPort)) faults.push(`healthPort ${settings.healthPort}: expected 1 to 65535`);
  if (settings.otlpUrl !== undefined && !/^http:\/\/[^/\s'\\]+\/?$/.test(settings.otlpUrl)) {
    faults.push(
      `otlpUrl ${JSON.stringify(settings.otlpUrl)}: expected http://host:port without a path; the edge speaks to it plainly`,
    );
  }
  if (settings.healthHost !== undefined && isIP(settings.healthHost) === 0) {
    faults.push(`healthHost ${JSON.stringify(settings.healthHost)}: expected an IP address`);
  }
  if (!DOMAIN.test(settings.domain)) {
    faults.push(`domain ${JSON.stringify(settings.domain)}: expected a lower-case DNS name such as culvert.localhost`);
  }
  if (settings.redisUrl.startsWith('rediss:') || parseStoreAddress(settings.redisUrl) === undefined) {
    faults.push(
      'redisUrl: expected redis://[user:password@]host[:port][/db] or redis+sentinel://[user:password@]host[:port],.../<name of the primary>',
    );
  }
  if (settings.tls !== undefined) faults.push(...faultsOfTls(settings.tls, settings.port));
  if (settings.edgeSecret.length < 16) faults.push('edgeSecret: expected at least 16 characters');
  if (settings.user !== undefined && !/^[a-z_][a-z0-9_-]*$/i.test(settings.user)) {
    faults.push(`user ${JSON.stringify(settings.user)}: expected the name of a user`);
  }
  if (settings.workers !== undefined && !(Number.isInteger(settings.workers) && settings.workers >= 1)) {
    faults.push(`workers ${settings.workers}: expected a whole number from 1`);
  }
  // Otherwise a route or a connection kept here could outlive the port's rest and lead to another device.
  const memory = limits.ROUTE_STALE_MS + limits.EDGE_KEEPALIVE_MS;
  if (memory >= limits.COOL_DOWN_MS) {
    faults.push(
      `CULVERT_LIMIT_ROUTE_STALE_MS (${limits.ROUTE_STALE_MS}) + CULVERT_LIMIT_EDGE_KEEPALIVE_MS (${limits.EDGE_KEEPALIVE_MS}) ` +
        `= ${memory}: expected less than CULVERT_LIMIT_COOL_DOWN_MS (${limits.COOL_DOWN_MS})`,
    );
  }
  return faults;
}

/** The limits in force. Throws a CulvertError `bad_request` that names every fault of the settings at once. */
export function checkEdgeSettings(settings: EdgeSettings): Limits {
  const limits: Limits = { ...DEFAULT_LIMITS, ...settings.limits };
  const faults = faultsOf(settings, limits);
  if (faults.length > 0) throw new CulvertError('bad_request', `The edge cannot start:\n  ${faults.join('\n  ')}`);
  return limits;
}
