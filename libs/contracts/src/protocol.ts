/** Constants of wire protocol version 1 that are not settings. `docs/PROTOCOL.md` is the normative text. */
export const SUBPROTOCOL = 'culvert.v1';
export const CONTROL_PATH = '/v1/control';
export const TRANSFER_PATH = '/v1/transfer';
/** Operators' way to a device: tickets are asked for here, connections are dialled below it. */
export const ACCESS_PATH = '/v1/access';
export const ENROLL_PATH = '/v1/enroll';

/** A peer is called dead after this many heartbeats without any inbound frame. */
export const DEAD_AFTER_HEARTBEATS = 2.5;
export const HEARTBEAT_DEFAULT_MS = 30_000;
/** A local stack may go down to 1 s; a server on the internet stays in 10 to 240 s. */
export const HEARTBEAT_MIN_MS = 1_000;
export const HEARTBEAT_MAX_MS = 240_000;
/** Heartbeats of different devices are spread by this share, so that they never march in step. */
export const HEARTBEAT_SPREAD = 0.1;

/** Most bytes in one inline message, either way: a short turn, so that heartbeats and other transfers need not wait long. */
export const INLINE_DATA_MAX = 16_384;
/** Most unspent credit of one direction of an inline transfer, in bytes. */
export const INLINE_CREDIT_MAX = 1_048_576;

export const SCHEMES = ['http', 'https', 'tcp'] as const;
export type Scheme = (typeof SCHEMES)[number];

/** One entry of `ports`: what the device offers. `port` is the number that `dial` names. */
export interface PortSpec {
  port: number;
  scheme: Scheme;
}

/** A port spec that has its public side. `host` is present for http and https. */
export interface Endpoint extends PortSpec {
  host?: string;
  public_port: number;
}

/**
 * The host that is given out with a tcp endpoint. `{listener}` in the setting stands for the listener that has its port: so each
 * listener has a name, and an address, of its own.
 */
export const tcpHostOf = (setting: string, listener: string): string => setting.replaceAll('{listener}', listener);

const DEVICE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Says what is wrong with a device name, or undefined when it is a DNS label of `[a-z0-9-]`, 1 to 63 long. */
export function faultOfDeviceName(name: string): string | undefined {
  if (name.length === 0) return 'name is missing; expected a DNS label such as alice or cam-7';
  if (name.length > 63) return `name has ${name.length} characters; expected at most 63`;
  if (!DEVICE_NAME.test(name)) {
    return `name ${JSON.stringify(name)} is not a DNS label; expected a-z, 0-9 and inner hyphens only`;
  }
  return undefined;
}

export type PortListResult = { ok: true; ports: PortSpec[] } | { ok: false; fault: string };

/**
 * Parses the `ports` parameter: 1 to `most` of `80`, `443`, `http:8080`, `https:8443`, `tcp:22`. A bare 80 is http, a bare
 * 443 is https, any other bare number is tcp. Port numbers are unique.
 */
export function parsePortList(text: string, most = 32): PortListResult {
  const fail = (fault: string): PortListResult => ({ ok: false, fault });
  if (text === '') return fail('ports is missing; expected a list such as 80,tcp:22');
  const entries = text.split(',');
  if (entries.length > most) return fail(`ports has ${entries.length} entries; expected 1 to ${most}`);
  const ports: PortSpec[] = [];
  const seen = new Set<number>();
  for (const entry of entries) {
    const match = /^(?:(http|https|tcp):)?([0-9]{1,5})$/.exec(entry);
    const port = Number(match?.[2]);
    if (match === null || port < 1 || port > 65_535) {
      return fail(`ports entry ${JSON.stringify(entry.slice(0, 32))} is not valid; expected [http:|https:|tcp:]1..65535`);
    }
    if (seen.has(port)) return fail(`ports names ${port} twice; expected every port number once`);
    seen.add(port);
    ports.push({ port, scheme: (match[1] as Scheme | undefined) ?? (port === 80 ? 'http' : port === 443 ? 'https' : 'tcp') });
  }
  return { ok: true, ports };
}

export function formatPortList(ports: readonly PortSpec[]): string {
  return ports.map(({ scheme, port }) => `${scheme}:${port}`).join(',');
}
