import { statSync } from 'node:fs';
import { isAbsolute, resolve } from 'node:path';
import { type Reader, type Setting, setting } from '@culvert/service-kit';

/** How the stack serves TLS. */
export interface TlsSettings {
  port: number;
  /** The operator's own certificate (chain, leaf first) and key; undefined: an authority of the stack's own. */
  files: { certificate: string; key: string } | undefined;
  /** Files of the keys of session tickets, the one that makes them first. */
  ticketKeys: readonly string[];
  plain: 'redirect' | 'serve';
  plainDevices: boolean;
  /** max-age of Strict-Transport-Security; 0: none. */
  hstsMs: number;
}

const MOST_TICKET_KEYS = 8;
const MOST_HSTS_MS = 2 * 365 * 24 * 3_600_000;

const path: Reader<string> = (text) => ({ value: isAbsolute(text) ? text : resolve(text) });

/** Files as nginx takes them: AES-256 with 80 bytes, AES-128 with 48. */
const ticketKeys: Reader<readonly string[]> = (text) => {
  const paths = text.split(',').map((one) => resolve(one.trim()));
  const size = (file: string): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0;
  if (paths.length <= MOST_TICKET_KEYS && paths.every((file) => [48, 80].includes(size(file)))) return { value: paths };
  return {
    expected: `1 to ${MOST_TICKET_KEYS} files of 80 (or 48) random bytes each, separated by commas: openssl rand -out FILE 80`,
  };
};

export const TLS_SETTINGS = {
  CULVERT_TLS: {
    read: setting.text(/^(?:off|local|files)$/, 'off, local (an authority of its own) or files (your certificate)'),
    fallback: 'off',
  },
  CULVERT_TLS_PORT: { read: setting.port(), fallback: 8443 },
  CULVERT_TLS_CERT_FILE: { read: path, fallback: '' },
  CULVERT_TLS_KEY_FILE: { read: path, fallback: '' },
  CULVERT_TLS_TICKET_KEYS: { read: ticketKeys, fallback: [] as readonly string[] },
  CULVERT_PLAIN: {
    read: setting.text(/^(?:redirect|serve)$/, 'redirect or serve: what the plain port does with visitors'),
    fallback: 'redirect',
  },
  CULVERT_PLAIN_DEVICES: { read: setting.flag(), fallback: false },
  CULVERT_HSTS: { read: setting.duration(0, MOST_HSTS_MS), fallback: 0 },
} as const satisfies Record<string, Setting<unknown>>;

interface Values {
  CULVERT_TLS: string;
  CULVERT_TLS_PORT: number;
  CULVERT_TLS_CERT_FILE: string;
  CULVERT_TLS_KEY_FILE: string;
  CULVERT_TLS_TICKET_KEYS: readonly string[];
  CULVERT_PLAIN: string;
  CULVERT_PLAIN_DEVICES: boolean;
  CULVERT_HSTS: number;
}

/** Undefined when TLS is off. */
export function tlsOf(values: Values): TlsSettings | undefined {
  if (values.CULVERT_TLS === 'off') return undefined;
  const files = { certificate: values.CULVERT_TLS_CERT_FILE, key: values.CULVERT_TLS_KEY_FILE };
  return {
    port: values.CULVERT_TLS_PORT,
    files: values.CULVERT_TLS === 'files' ? files : undefined,
    ticketKeys: values.CULVERT_TLS_TICKET_KEYS,
    plain: values.CULVERT_PLAIN === 'serve' ? 'serve' : 'redirect',
    plainDevices: values.CULVERT_PLAIN_DEVICES,
    hstsMs: values.CULVERT_HSTS,
  };
}

export function faultsOfTls(values: Values, port: number, [first, last]: readonly [number, number]): string[] {
  const faults: string[] = [];
  const { CULVERT_TLS: mode, CULVERT_TLS_PORT: tlsPort } = values;
  for (const name of ['CULVERT_TLS_CERT_FILE', 'CULVERT_TLS_KEY_FILE'] as const) {
    if (mode === 'files' && values[name] === '') faults.push(`${name} is not set; expected a PEM file, as CULVERT_TLS=files`);
    if (mode !== 'files' && values[name] !== '') faults.push(`${name} is set; expected CULVERT_TLS=files beside it`);
  }
  if (mode === 'off' && values.CULVERT_TLS_TICKET_KEYS.length > 0)
    faults.push('CULVERT_TLS_TICKET_KEYS is set; expected CULVERT_TLS=local or files beside it');
  if (mode === 'off' && values.CULVERT_HSTS > 0)
    faults.push('CULVERT_HSTS is set; expected CULVERT_TLS=local or files beside it');
  if (mode !== 'off' && (tlsPort === port || (tlsPort >= first && tlsPort <= last))) {
    faults.push(
      `CULVERT_TLS_PORT=${tlsPort} is CULVERT_PORT or lies within CULVERT_TCP_PORTS=${first}-${last}; expected another`,
    );
  }
  return faults;
}
