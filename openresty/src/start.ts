import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Machine, thisMachine } from './machine.ts';
import { renderEdgeConfig } from './render.ts';
import type { EdgeSettings } from './settings.ts';

/** A process to be started. `env` holds the secrets; add it to the environment of the process. */
export interface EdgeCommand {
  command: string;
  args: string[];
  env: { CULVERT_REDIS_URL: string; CULVERT_EDGE_SECRET: string };
}

const BINARIES = {
  debian: ['/usr/sbin/nginx', '/usr/local/sbin/nginx'],
  openresty: ['/usr/local/openresty/nginx/sbin/nginx', '/usr/bin/openresty'],
} as const;

function findBinary(settings: EdgeSettings): string {
  if (settings.binary !== undefined) return settings.binary;
  const target = settings.target ?? 'debian';
  // Without any of them the name alone: starting it then fails with a message that names it.
  return BINARIES[target].find((path) => existsSync(path)) ?? (target === 'debian' ? 'nginx' : 'openresty');
}

/**
 * Writes the prefix folder and says how to start nginx in the foreground. SIGTERM ends it at once, SIGQUIT winds it down
 * within WIND_DOWN_MS. `machine` is the one that nginx will run on. Add `-t` to the arguments to check the configuration only.
 */
export function prepareEdge(settings: EdgeSettings, machine: Machine = thisMachine()): EdgeCommand {
  const files = renderEdgeConfig(settings, machine);
  // Lua modules of an earlier version must not linger beside the new ones.
  rmSync(join(settings.prefix, 'lua'), { recursive: true, force: true });
  for (const folder of ['logs', 'temp']) mkdirSync(join(settings.prefix, folder), { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    const path = join(settings.prefix, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  return {
    command: findBinary(settings),
    args: ['-p', `${settings.prefix}/`, '-c', 'nginx.conf', '-e', 'logs/error.log'],
    env: { CULVERT_REDIS_URL: settings.redisUrl, CULVERT_EDGE_SECRET: settings.edgeSecret },
  };
}
