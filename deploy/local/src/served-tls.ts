import { join } from 'node:path';
import type { EdgeTls } from '@culvert/edge';
import { findProgram } from '../bin/system.mjs';
import { ensureLocalTls } from './local-ca.ts';
import type { StackSettings } from './settings.ts';

/** TLS of a stack, once its certificates are there. */
export interface ServedTls {
  /** The edge's address as this machine reaches it. */
  url: string;
  /** Path of the authority that clients have to trust; null when they do already. */
  ca: string | null;
  edge: EdgeTls;
  /** What the admin API serves with: it is asked by address, for which only our own authority vouches. */
  admin: { certificate: string; key: string } | undefined;
}

/** Makes what has to be made. Undefined when TLS is off. */
export async function serveTls({ tls, stateDir, domain }: StackSettings): Promise<ServedTls | undefined> {
  if (tls === undefined) return undefined;
  const { port, plain, plainDevices, hstsMs, ticketKeys } = tls;
  const shared = { port, plain, plainDevices, hstsMs, ticketKeys };
  if (tls.files !== undefined) {
    return {
      url: `https://${domain}${port === 443 ? '' : `:${port}`}`,
      ca: null,
      edge: { ...shared, ...tls.files },
      admin: undefined,
    };
  }
  const { ca, ...files } = await ensureLocalTls(findProgram('openssl') ?? 'openssl', join(stateDir, 'tls'), domain);
  return { url: `https://127.0.0.1:${port}`, ca, edge: { ...shared, ...files, adminCa: ca }, admin: files };
}
