import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

export const LAUNCHER = fileURLToPath(new URL('../bin/culvert.mjs', import.meta.url));

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Environment of the test without anything that culvert or its proxies would read. */
export function cleanEnv(extra: Record<string, string> = {}): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !/^CULVERT_|_proxy$/i.test(name));
  return { ...(Object.fromEntries(kept) as Record<string, string>), ...extra };
}

/** Starts the real command. */
export function startCli(args: string[], env: Record<string, string> = {}, node = process.execPath): ChildProcess {
  return spawn(node, [LAUNCHER, ...args], { env: cleanEnv(env), stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Runs it to its end. */
export async function runCli(args: string[], env: Record<string, string> = {}, node = process.execPath): Promise<CliResult> {
  const child = startCli(args, env, node);
  const result: CliResult = { code: null, stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => {
    result.stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    result.stderr += chunk;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  result.code = code;
  return result;
}
