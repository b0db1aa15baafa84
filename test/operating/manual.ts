import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '../..');
const run = promisify(execFile);

/** The commands of a page of the docs that are marked to be run: `<!-- run: NAME -->` before a fenced block of sh. */
export function commandsOf(page: string): Map<string, string> {
  const text = readFileSync(join(ROOT, page), 'utf8');
  const found = new Map<string, string>();
  for (const [, name = '', script = ''] of text.matchAll(/<!-- run: ([a-z-]+) -->\n+```sh\n([\s\S]*?)```/g)) {
    if (found.has(name)) throw new Error(`${page} has two blocks named ${name}`);
    found.set(name, script);
  }
  return found;
}

/** Runs one of them as an operator would type it, but ends at the first command that fails; what it printed. */
export async function runBlock(
  script: string | undefined,
  env: Record<string, string>,
  cwd = ROOT,
  timeout = 120_000,
): Promise<string> {
  if (script === undefined) throw new Error('there is no such block');
  const { stdout } = await run('bash', ['-euo', 'pipefail', '-c', script], {
    cwd,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    timeout,
  });
  return stdout;
}
