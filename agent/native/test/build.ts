import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const NATIVE = join(import.meta.dirname, '..');
export const CORE = join(NATIVE, 'core');

/** What the core has to be free of, whatever the compiler. */
export const STRICT = ['-pedantic', '-Wall', '-Wextra', '-Wconversion', '-Wshadow', '-Werror'];
export const C99 = ['-std=c99', '-Wstrict-prototypes', '-Wmissing-prototypes'];

/** A folder for what a test file builds, and how to be rid of it. */
export function scratchFolder(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-native-'));
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) };
}

export function coreSources(): string[] {
  const src = join(CORE, 'src');
  return readdirSync(src)
    .filter((name) => name.endsWith('.c'))
    .map((name) => join(src, name));
}

/** Compiles sources to a program; throws with what the compiler said. */
export function compile(compiler: string, flags: readonly string[], sources: readonly string[], out: string): void {
  run(compiler, [...flags, `-I${join(CORE, 'include')}`, ...sources, '-o', out]);
}

/** Runs a command to its end, within three minutes unless told otherwise; gives what it wrote to standard output. */
export function run(
  command: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number; cwd?: string } = {},
): string {
  const { input = '', timeoutMs = 180_000, cwd } = options;
  try {
    return execFileSync(command, args, {
      ...{ encoding: 'utf8', input, stdio: ['pipe', 'pipe', 'pipe'], timeout: timeoutMs, maxBuffer: 1 << 26 },
      ...(cwd === undefined ? {} : { cwd }),
    });
  } catch (error) {
    const { stdout, stderr, message } = error as { stdout?: string; stderr?: string; message: string };
    throw new Error(`${command} failed: ${message.slice(0, 200)}\n${stdout ?? ''}\n${stderr ?? ''}`, { cause: error });
  }
}
