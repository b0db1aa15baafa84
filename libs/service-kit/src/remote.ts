import type { IncomingMessage } from 'node:http';
import { BlockList } from 'node:net';
import type { Setting } from './config.ts';
import { parseNetwork } from './networks.ts';

/** Where edges stand unless told otherwise: loopback, private and carrier-internal addresses. */
const PRIVATE_NETWORKS =
  '127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,::1,fc00::/7,fe80::/10';

/** `10.0.0.0/8,::1`; undefined when a part is no network. */
function readNetworks(text: string): BlockList | undefined {
  const list = new BlockList();
  for (const part of text.split(',')) {
    const network = parseNetwork(part.trim());
    if (network === undefined) return undefined;
    list.addSubnet(network.address, network.prefix, network.family);
  }
  return list;
}

/** The setting CULVERT_EDGE_NETWORKS: whose X-Forwarded-For is believed. */
export function edgeNetworks(): Setting<BlockList> & { fallback: BlockList } {
  return {
    read: (text) => {
      const value = readNetworks(text);
      return value === undefined ? { expected: 'networks such as 10.0.0.0/8,::1' } : { value };
    },
    fallback: readNetworks(PRIVATE_NETWORKS) ?? new BlockList(),
  };
}

/**
 * The client's address. An edge appends the one that it sees to X-Forwarded-For: what stands before it is the client's own
 * tale, and all of it is when it does not come from an edge.
 */
export function remoteOf({ headers, socket }: Pick<IncomingMessage, 'headers' | 'socket'>, edges: BlockList): string {
  const direct = socket.remoteAddress ?? 'unknown';
  const forwarded = headers['x-forwarded-for'];
  const text = Array.isArray(forwarded) ? forwarded.join(',') : forwarded;
  const last = text?.split(',').at(-1)?.trim();
  const trusted = socket.remoteAddress !== undefined && edges.check(direct, direct.includes(':') ? 'ipv6' : 'ipv4');
  return ((trusted && last) || direct).slice(0, 64);
}
