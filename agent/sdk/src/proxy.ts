import { BlockList, isIP } from 'node:net';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The HTTP proxy for connections to `server`, or undefined for none. https and wss go by HTTPS_PROXY, http and ws by
 * HTTP_PROXY; small letters come first, as with curl. NO_PROXY lists hosts, domains (with all below), addresses, CIDR
 * ranges, each with an optional port, or `*`.
 *
 * @param chosen The option: a URL, null for none whatever the environment says, undefined to read the environment.
 */
export function proxyFor(server: URL, chosen: string | null | undefined, env: Environment = process.env): string | undefined {
  if (chosen !== undefined) return chosen ?? undefined;
  const secure = server.protocol === 'https:' || server.protocol === 'wss:';
  const found = secure ? env.https_proxy || env.HTTPS_PROXY : env.http_proxy || env.HTTP_PROXY;
  if (found === undefined || found === '') return undefined;
  const host = server.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const port = server.port === '' ? (secure ? '443' : '80') : server.port;
  if (bypassed(host, port, env.no_proxy || env.NO_PROXY || '')) return undefined;
  return found.includes('://') ? found : `http://${found}`;
}

function bypassed(host: string, port: string, list: string): boolean {
  return list.split(/[\s,]+/).some((entry) => entry !== '' && matches(host, port, entry.toLowerCase()));
}

function matches(host: string, port: string, entry: string): boolean {
  if (entry === '*') return true;
  const bracketed = /^\[([^\]]+)\](?::([0-9]+))?$/.exec(entry);
  const plain = /^([^:]+):([0-9]+)$/.exec(entry);
  const [pattern, wanted] = bracketed ? [bracketed[1], bracketed[2]] : plain ? [plain[1], plain[2]] : [entry, undefined];
  if (pattern === undefined || (wanted !== undefined && wanted !== port)) return false;
  const family = isIP(host);
  if (family !== 0) return matchesAddress(host, family === 6 ? 'ipv6' : 'ipv4', pattern);
  const domain = pattern.replace(/^\*?\./, '');
  return host === domain || host.endsWith(`.${domain}`);
}

function matchesAddress(host: string, family: 'ipv4' | 'ipv6', pattern: string): boolean {
  const [network = '', bits] = pattern.split('/');
  if (isIP(network) !== (family === 'ipv6' ? 6 : 4)) return false;
  const prefix = bits === undefined ? (family === 'ipv6' ? 128 : 32) : Number(bits);
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > (family === 'ipv6' ? 128 : 32)) return false;
  const range = new BlockList();
  range.addSubnet(network, prefix, family);
  return range.check(host, family);
}
