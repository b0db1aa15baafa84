import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '@culvert/test/harness/servers.ts';
import { afterEach, describe, expect, it } from 'vitest';
import { faultOfPackages } from '../bin/packages.mjs';
import { findProgram } from '../bin/system.mjs';
import { descendantsOf, isRunning } from './processes.ts';

const START = join(import.meta.dirname, '../bin/start.mjs');
const RUN = join(import.meta.dirname, '../bin/run.mjs');
/** The machine's own Node, of whatever age; without one, ours. */
const systemNode = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => existsSync(path)) ?? process.execPath;

const folders: string[] = [];
const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGTERM');
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

const folder = (): string => {
  const made = mkdtempSync(join(tmpdir(), 'culvert-launcher-'));
  folders.push(made);
  return made;
};

async function until(what: string, check: () => boolean, ms = 60_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!check()) {
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** `npm start`, as npm runs it. */
async function launch(): Promise<{ launcher: ChildProcess; stackFile: string; family: number[] }> {
  const stateDir = folder();
  const env = {
    PATH: process.env.PATH,
    CULVERT_STATE_DIR: stateDir,
    CULVERT_PORT: String(await freePort()),
    CULVERT_TCP_PORTS: '19000-19049',
    CULVERT_DEMO: '0',
  };
  const launcher = spawn(systemNode, [START], { env, stdio: 'ignore' });
  started.push(launcher);
  const stackFile = join(stateDir, 'stack.json');
  await until('stack.json is there', () => existsSync(stackFile) || launcher.exitCode !== null);
  expect(launcher.exitCode).toBeNull();
  return { launcher, stackFile, family: descendantsOf(launcher.pid ?? 0) };
}

describe('npm start', () => {
  it('runs the stack under Node 24 whatever Node runs npm, and ends it all on SIGTERM', async () => {
    const { launcher, stackFile, family } = await launch();
    expect(readFileSync(`/proc/${family[0]}/cmdline`, 'utf8')).toMatch(/node.*deploy\/local\/src\/main\.ts/);
    launcher.kill('SIGTERM');
    expect(await once(launcher, 'exit')).toEqual([0, null]);
    expect(family.filter(isRunning)).toEqual([]);
    expect(existsSync(stackFile)).toBe(false);
  }, 90_000);

  it('leaves nothing behind when it is killed itself', async () => {
    const { launcher, stackFile, family } = await launch();
    launcher.kill('SIGKILL');
    await until('everything is gone', () => !family.some(isRunning));
    expect(existsSync(stackFile)).toBe(false);
  }, 90_000);
});

describe('run.mjs', () => {
  it('hands on arguments and the exit code', async () => {
    const script = join(folder(), 'script.ts');
    writeFileSync(script, 'const words: string[] = process.argv.slice(2);\nprocess.exit(words.join() === "a,b" ? 7 : 1);\n');
    const child = spawn(systemNode, [RUN, script, 'a', 'b'], { stdio: 'ignore' });
    expect(await once(child, 'exit')).toEqual([7, null]);
  });
});

describe('what is installed', () => {
  const ROOT = join(import.meta.dirname, '../../..');
  const copy = (): string => {
    const root = folder();
    mkdirSync(join(root, 'node_modules'));
    for (const file of ['package-lock.json', 'node_modules/.package-lock.json']) cpSync(join(ROOT, file), join(root, file));
    return root;
  };

  it('is found to be right', () => {
    expect(faultOfPackages(copy())).toBeUndefined();
  });

  it('is found missing, and found to be another version', () => {
    const root = copy();
    const path = join(root, 'node_modules/.package-lock.json');
    const lock = JSON.parse(readFileSync(path, 'utf8')) as { packages: Record<string, { version?: string }> };
    writeFileSync(path, JSON.stringify({ ...lock, packages: { ...lock.packages, 'node_modules/ws': { version: '1.0.0' } } }));
    expect(faultOfPackages(root)).toContain('(ws)');
    rmSync(path);
    expect(faultOfPackages(root)).toBe('npm packages are not installed');
  });

  it('names programs that are not there as absent', () => {
    expect(findProgram('redis-server')).toMatch(/\/redis-server$/);
    expect(findProgram('no-such-program-anywhere')).toBeUndefined();
  });
});
