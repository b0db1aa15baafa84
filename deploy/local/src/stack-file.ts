import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { writePrivate } from './files.ts';

interface ProcessInfo {
  pid: number;
  address: string;
}

/** What `<state dir>/stack.json` says: everything that a script, a test or the CLI needs to use the stack. Mode 0600. */
export interface StackInfo {
  /** URL of the edge. */
  edge: string;
  /** Path of the certificate (PEM) of the authority that clients of edge and admin have to trust; null: none of ours. */
  ca: string | null;
  domain: string;
  /** URL of the REST API. */
  admin: string;
  adminToken: string;
  /** URL with the credentials of the integrator, who may read events only. */
  nats: string;
  /** URL of the demo device's page; null without it. */
  demo: string | null;
  /** `health` is the URL of its `/healthz`. */
  services: { name: string; id: string; pid: number; health: string }[];
  /** A redis:// URL with full rights. */
  redis: ProcessInfo;
  natsServer: ProcessInfo;
  /** `health` is the URL of its `/healthz`; `/metrics` is beside it. */
  nginx: ProcessInfo & { health: string };
}

export const stackFilePath = (stateDir: string): string => join(stateDir, 'stack.json');

/** The file is there exactly as long as the stack is ready. */
export function writeStackFile(stateDir: string, info: StackInfo): void {
  writePrivate(stackFilePath(stateDir), `${JSON.stringify(info, null, 2)}\n`);
}

export function removeStackFile(stateDir: string): void {
  rmSync(stackFilePath(stateDir), { force: true });
}
