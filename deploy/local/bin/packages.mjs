// npm packages: are those of package-lock.json installed, and if not, `npm ci`.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's root. */
export const repository = join(dirname(fileURLToPath(import.meta.url)), '../../..');

const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/**
 * What stands between node_modules and package-lock.json: undefined when nothing does. Packages for other platforms are
 * optional and may be absent.
 */
export function faultOfPackages(root = repository) {
  const installedPath = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(installedPath)) return 'npm packages are not installed';
  const installed = readJson(installedPath).packages;
  for (const [path, wanted] of Object.entries(readJson(join(root, 'package-lock.json')).packages)) {
    if (!path.startsWith('node_modules/') && !path.includes('/node_modules/')) continue;
    const found = installed[path];
    if (found === undefined ? wanted.optional !== true : found.version !== wanted.version) {
      return `npm packages are not those of package-lock.json (${path.replace(/^.*node_modules\//, '')})`;
    }
  }
  return undefined;
}

/** Installs what is missing and shows how far it is. */
export async function installPackages(root = repository) {
  const fault = faultOfPackages(root);
  if (fault === undefined) return;
  const wanted = Object.keys(readJson(join(root, 'package-lock.json')).packages).filter((path) =>
    path.startsWith('node_modules/'),
  );
  console.log(`${fault}: running npm ci`);
  const cli = process.env.npm_execpath;
  const [command, args] = cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []];
  const child = spawn(command, [...args, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: root, stdio: 'inherit' });
  const progress = setInterval(() => {
    const there = wanted.filter((path) => existsSync(join(root, path, 'package.json'))).length;
    console.log(`  npm packages: ${there} of at most ${wanted.length}`);
  }, 3_000);
  const code = await new Promise((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (status, signal) => resolve(status ?? signal));
  });
  clearInterval(progress);
  if (code !== 0) throw new Error(`npm ci failed (${code}); run it by hand to see why`);
  console.log('  npm packages: installed');
}
