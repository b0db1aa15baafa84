import { isIP } from 'node:net';

export interface Network {
  address: string;
  /** Leading bits that count. */
  prefix: number;
  family: 'ipv4' | 'ipv6';
}

/** `192.0.2.0/24`, `2001:db8::/32`, or one address; undefined when the text is none of these. */
export function parseNetwork(text: string): Network | undefined {
  const match = /^([0-9a-fA-F:.]{2,45})(?:\/([0-9]{1,3}))?$/.exec(text);
  const address = match?.[1] ?? '';
  const version = isIP(address);
  if (version === 0) return undefined;
  const most = version === 4 ? 32 : 128;
  const prefix = match?.[2] === undefined ? most : Number(match[2]);
  return prefix <= most ? { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' } : undefined;
}
