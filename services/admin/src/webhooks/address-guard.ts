import { lookup as resolve } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';

const NOT_PUBLIC_V4 = [
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.0.0.0/24'],
  ...['192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24', '203.0.113.0/24'],
  ...['224.0.0.0/4', '240.0.0.0/4'],
];
/** Within global unicast: Teredo and 6to4 carry IPv4 addresses, documentation carries nothing. */
const NOT_PUBLIC_V6 = ['2001::/23', '2001:db8::/32', '2002::/16', '3fff::/20'];
const GLOBAL_UNICAST = '2000::/3';

function listOf(subnets: readonly string[], family: 'ipv4' | 'ipv6'): BlockList {
  const list = new BlockList();
  for (const subnet of subnets) {
    const [address = '', bits] = subnet.split('/');
    list.addSubnet(address, Number(bits), family);
  }
  return list;
}
const v4 = listOf(NOT_PUBLIC_V4, 'ipv4');
const v6 = listOf(NOT_PUBLIC_V6, 'ipv6');
const global = listOf([GLOBAL_UNICAST], 'ipv6');

/** Is it an address of the public internet, not of this machine, its network or the cloud it runs in? */
export function isPublic(address: string): boolean {
  if (isIP(address) === 4) return !v4.check(address, 'ipv4');
  return isIP(address) === 6 && global.check(address, 'ipv6') && !v6.check(address, 'ipv6');
}

export class PrivateAddress extends Error {
  override readonly name = 'PrivateAddress';
}

/**
 * Resolves a name for a connection and refuses it when any of its addresses is not public. The connection goes to the very
 * addresses that were checked: a name that answers otherwise the next time gains nothing.
 */
export const publicLookup: LookupFunction = (host, options, done) => {
  resolve(host, { ...options, all: true }, (error, addresses) => {
    const fault = error ?? addresses.map(({ address }) => faultOfAddress(host, address)).find((one) => one !== undefined);
    if (fault !== undefined && fault !== null) return done(fault as NodeJS.ErrnoException, '', 4);
    const [first] = addresses;
    if (options.all === true) return (done as unknown as (error: null, all: typeof addresses) => void)(null, addresses);
    return done(null, first?.address ?? '', first?.family ?? 4);
  });
};

/** What is wrong with an address of that host; undefined when it is public. */
export function faultOfAddress(host: string, address: string): PrivateAddress | undefined {
  return isPublic(address) ? undefined : new PrivateAddress(`${host} is ${address}, which is no public address`);
}

/** Says why nothing may be sent to that URL; undefined when it may. Names are checked again, by their addresses, at each use. */
export function faultOfUrl(text: string, privateAllowed: boolean): string | undefined {
  const wanted = privateAllowed ? 'an http or https URL' : 'an https URL of a public host';
  if (!URL.canParse(text)) return `url ${JSON.stringify(text.slice(0, 100))} is no URL; expected ${wanted}`;
  const url = new URL(text);
  if (url.protocol !== 'https:' && !(privateAllowed && url.protocol === 'http:')) {
    return `url begins with ${url.protocol}//; expected ${wanted}`;
  }
  if (url.username !== '' || url.password !== '') return 'url holds credentials, which would end up in logs; expected none';
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (privateAllowed) return undefined;
  if (host === 'localhost' || host.endsWith('.localhost')) return `url leads to this machine; expected ${wanted}`;
  return isIP(host) === 0 || isPublic(host) ? undefined : `url leads to ${host}; expected ${wanted}`;
}
