import { isIP } from 'node:net';

/** One mapping of `culvert forward`: a local port, or standard input and output, to a port of the device. */
export type LocalMapping = { kind: 'listen'; host: string; local: number; port: number } | { kind: 'stdio'; port: number };

const EXPECTED = 'expected [ADDRESS:]LOCALPORT:PORT such as 8022:22, 0:22 or [::1]:8022:22, or -:22';

/** Parses `8022:22`, `22`, `0:22`, `127.0.0.2:8022:22`, `[::1]:8022:22`, `-:22`. Says what is wrong as a text. */
export function parseLocalMapping(text: string): LocalMapping | string {
  const match = /^(?:(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(?=[^:]*:))?(?:(-|[0-9]{1,5}):)?([0-9]{1,5})$/.exec(text);
  const fault = `mapping ${JSON.stringify(text.slice(0, 64))} is not valid; ${EXPECTED}`;
  if (match === null) return fault;
  const [, ipv6, ipv4, local, remote] = match;
  const port = Number(remote);
  if (port < 1 || port > 65_535) return fault;
  if (local === '-') return ipv6 === undefined && ipv4 === undefined ? { kind: 'stdio', port } : fault;
  const address = ipv6 ?? ipv4;
  if (address !== undefined && isIP(address) !== (ipv6 === undefined ? 4 : 6)) return fault;
  const number = local === undefined ? port : Number(local);
  if (number > 65_535) return fault;
  return { kind: 'listen', host: address ?? '127.0.0.1', local: number, port };
}
