import { BlockList } from 'node:net';
import { type Handshake, parseNetwork } from '@culvert/service-kit';

/** Where edges stand unless told otherwise: loopback, private and carrier-internal addresses. */
export const PRIVATE_NETWORKS =
  '127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,::1,fc00::/7,fe80::/10';

/** `10.0.0.0/8,::1`; undefined when a part is no network. */
export function readNetworks(text: string): BlockList | undefined {
  const list = new BlockList();
  for (const part of text.split(',')) {
    const network = parseNetwork(part.trim());
    if (network === undefined) return undefined;
    list.addSubnet(network.address, network.prefix, network.family);
  }
  return list;
}

/**
 * The device's address. An edge appends the one that it sees to X-Forwarded-For: what stands before it is the client's own
 * tale, and all of it is when it does not come from an edge.
 */
export function remoteOf({ request, socket }: Pick<Handshake, 'request' | 'socket'>, edges: BlockList): string {
  const direct = socket.remoteAddress ?? 'unknown';
  const forwarded = request.headers['x-forwarded-for'];
  const text = Array.isArray(forwarded) ? forwarded.join(',') : forwarded;
  const last = text?.split(',').at(-1)?.trim();
  const trusted = socket.remoteAddress !== undefined && edges.check(direct, direct.includes(':') ? 'ipv6' : 'ipv4');
  return ((trusted && last) || direct).slice(0, 64);
}
