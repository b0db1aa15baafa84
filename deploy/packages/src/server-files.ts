import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join, relative } from 'node:path';

/** Workspaces that run on a server; what they import of others follows from their manifests. */
const SERVERS = [
  ...['services/ws-ingress', 'services/tcp-listener', 'services/lease-manager', 'services/port-allocator', 'services/admin'],
  'openresty',
];
const LIST_MS = 60_000;

/**
 * What a server needs of this repository, relative to it: npm's own answer for everything that the services depend on, tests and
 * tools left out. Links of workspaces are named as links, with the folders that they lead to.
 */
export function serverFiles(
  repository: string,
  servers: readonly string[] = SERVERS,
): { packages: string[]; workspaces: string[]; links: string[] } {
  const selected = servers.flatMap((folder) => ['--workspace', folder]);
  const listed = execFileSync('npm', ['ls', '--parseable', '--all', '--omit=dev', ...selected], {
    cwd: repository,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
    timeout: LIST_MS,
  });
  const root = realpathSync(repository);
  const packages: string[] = [];
  const workspaces = new Set<string>();
  const links: string[] = [];
  for (const path of listed.split('\n')) {
    const named = relative(repository, path);
    if (path === '' || named === '') continue;
    const real = relative(root, realpathSync(path));
    if (real.includes('node_modules/')) packages.push(real);
    else {
      workspaces.add(real);
      if (named.startsWith('node_modules/')) links.push(named);
    }
  }
  return { packages, workspaces: [...workspaces], links };
}

/** Is this part of a workspace needed where it runs? Tests and builds are not. */
export function isNeeded(workspace: string): (path: string) => boolean {
  return (path) => !/^(?:test|dist|node_modules)(?:\/|$)/.test(relative(workspace, path));
}

/** A package without packages below it: those that are needed are listed by themselves. */
export function isOwn(folder: string): (path: string) => boolean {
  const inner = join(folder, 'node_modules');
  return (path) => path !== inner;
}
