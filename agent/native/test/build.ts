import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

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

/** `run`, beside whatever else this process does. */
export function runBeside(
  command: string,
  args: readonly string[],
  options: { input?: string; timeoutMs?: number } = {},
): Promise<string> {
  const { input = '', timeoutMs = 180_000 } = options;
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, { timeout: timeoutMs, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(`${command} failed: ${error.message.slice(0, 200)}\n${stdout}\n${stderr}`, { cause: error }));
    });
    child.stdin?.on('error', () => {}).end(input); // a program that reads nothing may have ended before
  });
}

/** The most that it may take, on a busy machine. */
export const BUILD_MS = 240_000;

/** culvert-agent of the sources as they are now, with the system's mbedTLS: built once for all test files that want it. */
export async function builtAgent(): Promise<string> {
  const hash = createHash('sha256');
  for (const folder of ['core/src', 'core/include', 'agent', 'posix', 'CMakeLists.txt']) {
    for (const file of filesOf(join(NATIVE, folder))) hash.update(relative(NATIVE, file)).update(readFileSync(file));
  }
  const dir = join(tmpdir(), `culvert-agent-${hash.digest('hex').slice(0, 16)}-${process.getuid?.() ?? 0}`);
  const program = join(dir, 'culvert-agent');
  const end = performance.now() + BUILD_MS;
  while (!existsSync(program)) {
    if (locked(`${dir}.lock`)) {
      try {
        if (!existsSync(program)) buildInto(dir);
      } finally {
        rmSync(`${dir}.lock`, { recursive: true, force: true });
      }
    } else if (performance.now() > end) throw new Error(`${dir}.lock is held by another build; remove it when there is none`);
    else await pause(200);
  }
  return program;
}

/** Takes a lock; one that was left behind by a build that was killed is taken over. */
function locked(path: string): boolean {
  try {
    mkdirSync(path);
    return true;
  } catch {
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > BUILD_MS) rmSync(path, { recursive: true, force: true });
    return false;
  }
}

function buildInto(dir: string): void {
  const unfinished = `${dir}.${process.pid}`;
  run('cmake', ['-S', NATIVE, '-B', unfinished, '-DCMAKE_BUILD_TYPE=Release', '-DCULVERT_WERROR=ON']);
  run('cmake', ['--build', unfinished, '-j2', '--target', 'culvert-agent']);
  renameSync(unfinished, dir);
}

function filesOf(path: string): string[] {
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .map((name) => join(path, name))
    .filter((file) => statSync(file).isFile())
    .sort();
}
