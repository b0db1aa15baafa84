import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type EdgeLogLevel, prepareEdge } from '@culvert/edge';
import { get } from './http.ts';
import type { ServedTls } from './served-tls.ts';
import type { StackSettings } from './settings.ts';

export interface EdgePlan {
  command: string;
  args: string[];
  env: Record<string, string>;
  ready(): Promise<boolean>;
}

const LOG_LEVELS: Readonly<Record<string, EdgeLogLevel>> = {
  trace: 'debug',
  debug: 'info',
  info: 'warn',
  warn: 'warn',
  error: 'error',
};

/** nginx as the edge, with its folder below the state folder. */
export function planEdge(
  program: string,
  settings: StackSettings,
  secrets: { redisUrl: string; edgeSecret: string; healthPort: number },
  tls: ServedTls | undefined,
): EdgePlan {
  const prefix = join(settings.stateDir, 'edge');
  mkdirSync(prefix, { recursive: true, mode: 0o700 });
  const { command, args, env } = prepareEdge({
    ...secrets,
    prefix,
    port: settings.port,
    domain: settings.domain,
    access: settings.access,
    ...(settings.otlpUrl === undefined ? {} : { otlpUrl: settings.otlpUrl }),
    ...(tls === undefined ? {} : { tls: tls.edge }),
    limits: settings.limits,
    binary: program,
    logLevel: LOG_LEVELS[settings.logLevel] ?? 'warn',
  });
  return {
    command,
    args,
    env: { ...env },
    ready: async () => (await get(`http://127.0.0.1:${secrets.healthPort}/healthz`)).status === 200,
  };
}
