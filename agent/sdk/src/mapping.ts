import { isIP } from 'node:net';
import { parsePortList, type Scheme } from '@culvert/contracts';

/** One declared port of the device and where its bytes go. */
export interface Mapping {
  /** The number that visitors' dials name; unique within an agent. */
  port: number;
  scheme: Scheme;
  /** The local target: this machine, or any other that the device can reach. Host names are resolved anew for each visitor. */
  target: { host: string; port: number };
}

export type MappingResult = { ok: true; mapping: Mapping } | { ok: false; fault: string };

/**
 * Parses `<port spec>[=host:port]`: `80`, `http:8080=127.0.0.1:3000`, `tcp:22=192.168.1.7:22`, `tcp:22=[::1]:22`. Without a
 * target it is the same port on 127.0.0.1.
 */
export function parseMapping(text: string): MappingResult {
  const equals = text.indexOf('=');
  const spec = equals < 0 ? text : text.slice(0, equals);
  const parsed = spec.includes(',') ? undefined : parsePortList(spec);
  const entry = parsed?.ok === true ? parsed.ports[0] : undefined;
  if (entry === undefined) {
    return {
      ok: false,
      fault: `mapping ${show(text)} names the port as ${show(spec)}; expected [http:|https:|tcp:]1..65535, for example 80 or tcp:22=192.168.1.7:22`,
    };
  }
  if (equals < 0) return { ok: true, mapping: { ...entry, target: { host: '127.0.0.1', port: entry.port } } };
  const target = parseTarget(text.slice(equals + 1));
  if (target === undefined) {
    return {
      ok: false,
      fault: `mapping ${show(text)} has the target ${show(text.slice(equals + 1))}; expected host:port, for example 127.0.0.1:3000 or [::1]:22`,
    };
  }
  return { ok: true, mapping: { ...entry, target } };
}

/** The reverse of `parseMapping`, with everything written out. */
export function formatMapping({ scheme, port, target }: Mapping): string {
  return `${scheme}:${port}=${formatTarget(target)}`;
}

/** `host:port`, an IPv6 host in brackets. */
export function formatTarget({ host, port }: Mapping['target']): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function parseTarget(text: string): Mapping['target'] | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|([A-Za-z0-9_.-]{1,253})):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) return undefined;
  if (match[1] !== undefined) return isIP(match[1]) === 6 ? { host: match[1], port } : undefined;
  return { host: match[2] as string, port };
}

function show(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}
