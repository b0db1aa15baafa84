import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

/** Stands for the version before as long as the history knows one version only. */
const FIRST = '0cb139120225001d4137c5a5640260b5d3ddd799';
const VERSION = '^ *"version":';

/**
 * The last commit of the version before the present one, on the way that main has gone: the parent of the one that changed the version
 * in package.json. Undefined when that has never been changed, or the history does not reach so far.
 */
export function previousVersion(root: string): string | undefined {
  const git = (...args: string[]): string | undefined => {
    const { status, stdout } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
    return status === 0 ? stdout.trim() : undefined;
  };
  const changed = git('log', '-1', '--first-parent', '--format=%H', '-G', VERSION, '--', 'package.json');
  const before = changed && git('rev-parse', '--verify', '--quiet', `${changed}^`);
  return before && new RegExp(VERSION, 'm').test(git('show', `${before}:package.json`) ?? '') ? before : undefined;
}

/** The version before this one: upgrades from it are what docs/OPERATING.md promises. */
export const PREVIOUS = previousVersion(ROOT) ?? FIRST;

/** Whether the history is here; a clone of the newest commit alone has none. */
export const hasPrevious = (): boolean =>
  spawnSync('git', ['cat-file', '-e', `${PREVIOUS}^{commit}`], { cwd: ROOT }).status === 0;

/** One file of the previous version. */
export const previousFile = (path: string): string =>
  execFileSync('git', ['show', `${PREVIOUS}:${path}`], { cwd: ROOT, encoding: 'utf8', maxBuffer: 64 << 20 });

export const previousFiles = (folder: string): string[] =>
  execFileSync('git', ['ls-tree', '--name-only', `${PREVIOUS}:${folder}`], { cwd: ROOT, encoding: 'utf8' })
    .trim()
    .split('\n');

/** Folders of ours that an installation has; the rest of a version is tests and docs. */
const PARTS = ['agent', 'deploy', 'libs', 'openresty', 'services'];

/** Puts the previous version into an empty folder, ready to run. */
export async function installPrevious(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const tar = join(folder, 'previous.tar');
  await run('git', ['archive', '--output', tar, PREVIOUS, 'package.json', 'package-lock.json', ...PARTS, 'test/package.json'], {
    cwd: ROOT,
  });
  await run('tar', ['-xf', tar, '-C', folder]);
  if (!samePackages(folder)) {
    const npm = process.env.npm_execpath;
    const [command, args] = npm?.endsWith('.js') ? [process.execPath, [npm]] : ['npm', []];
    await run(command, [...args, 'ci', '--omit=dev', '--no-audit', '--no-fund'], { cwd: folder, timeout: 180_000 });
    return;
  }
  // The same packages are here already; only ours are of the other version.
  const modules = join(folder, 'node_modules');
  mkdirSync(join(modules, '@culvert'), { recursive: true });
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (name !== '@culvert' && name !== 'culvert') symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
  for (const part of PARTS) {
    for (const { name, path } of packagesIn(folder, part)) symlinkSync(path, join(modules, name));
  }
}

interface Lock {
  packages: Record<string, { version?: string; link?: boolean; dev?: boolean; optional?: boolean }>;
}
const lockOf = (folder: string): Lock => JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8')) as Lock;

function samePackages(folder: string): boolean {
  const present = lockOf(ROOT).packages;
  return Object.entries(lockOf(folder).packages).every(
    ([path, { version, link, dev, optional }]) =>
      !path.includes('node_modules/') || link === true || dev === true || optional === true || present[path]?.version === version,
  );
}

function packagesIn(folder: string, part: string): { name: string; path: string }[] {
  const paths = [join(folder, part), ...readdirSync(join(folder, part)).map((name) => join(folder, part, name))];
  return paths.flatMap((path) => {
    const file = join(path, 'package.json');
    if (!existsSync(file)) return [];
    const { name } = JSON.parse(readFileSync(file, 'utf8')) as { name?: string };
    return name?.startsWith('@culvert/') ? [{ name, path }] : [];
  });
}

/** What an upgrade of the packages does: this version's files in the place of the others'. Processes that run go on with theirs. */
export function replaceFiles(folder: string): void {
  const wanted = (path: string): boolean => !/\/(?:node_modules|dist|test)(?:\/|$)/.test(path.slice(ROOT.length - 1));
  for (const part of PARTS) {
    const next = join(folder, `${part}.next`);
    cpSync(join(ROOT, part), next, { recursive: true, filter: wanted });
    renameSync(join(folder, part), join(folder, `${part}.former`));
    renameSync(next, join(folder, part));
    for (const { name, path } of packagesIn(folder, part)) {
      const link = join(folder, 'node_modules', name);
      if (!existsSync(link)) symlinkSync(path, link);
    }
  }
}
