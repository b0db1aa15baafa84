import { BlockList } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Reader } from './config.ts';
import { parseNetwork } from './networks.ts';

/** This machine's address within a network such as `10.0.0.0/8`; undefined when it has none, or the text is no network. */
export function ownAddressIn(text: string): string | undefined {
  const network = text.includes('/') ? parseNetwork(text) : undefined;
  if (network === undefined) return undefined;
  const list = new BlockList();
  list.addSubnet(network.address, network.prefix, network.family);
  const addresses = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  return addresses.find(({ address, family }) => list.check(address, family === 'IPv6' ? 'ipv6' : 'ipv4'))?.address;
}

/**
 * Where something listens: an address, a name, or a network, which stands for this machine's own address in it. So instances
 * whose addresses are given to them, such as containers, share one setting.
 */
export const readHost: Reader<string> = (text) => {
  if (!text.includes('/')) return text === '' ? { expected: 'an address' } : { value: text };
  const value = ownAddressIn(text);
  return value === undefined
    ? { expected: 'an address, or a network such as 10.0.0.0/8 that this machine stands in' }
    : { value };
};
