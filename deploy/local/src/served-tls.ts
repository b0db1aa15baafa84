import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import type { EdgeTls } from '@culvert/edge';
import { findProgram } from '../bin/system.mjs';
import { readIfThere } from './files.ts';
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
  /** What the operator should know of the certificate. */
  notice?: string | undefined;
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
      notice: noticeOf(tls.files.certificate),
    };
  }
  const { ca, ...files } = await ensureLocalTls(findProgram('openssl') ?? 'openssl', join(stateDir, 'tls'), domain);
  return { url: `https://127.0.0.1:${port}`, ca, edge: { ...shared, ...files, adminCa: ca }, admin: files };
}

/** It is served whatever it is: nginx says what is wrong with a file that is no certificate. */
function noticeOf(path: string): string | undefined {
  try {
    const { validToDate } = new X509Certificate(readIfThere(path) ?? '');
    if (validToDate.getTime() > Date.now()) return undefined;
    return `the certificate ${path} has ended at ${validToDate.toISOString()}: devices and visitors that verify it stay away`;
  } catch {
    return undefined;
  }
}
