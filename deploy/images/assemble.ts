/**
 * `assemble.ts OUT`: lays out what each image holds, in `OUT/<target>`, from a repository whose packages are installed: npm's own
 * answer for what a part depends on, tests and tools left out, and a list of it all (`sbom.cdx.json`, CycloneDX).
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { isNeeded, isOwn, serverFiles } from '../packages/src/server-files.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const STEP_MS = 600_000;

interface Part {
  /** Workspaces that the part is; those they depend on follow. */
  workspaces: readonly string[];
  /** Files beside them. */
  files: readonly string[];
}

const service = (name: string): Part => ({
  workspaces: [`services/${name}`],
  files: ['deploy/images/run.mjs', 'deploy/images/health.mjs'],
});

const PARTS: Readonly<Record<string, Part>> = {
  ...Object.fromEntries(
    ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin'].map((name) => [name, service(name)]),
  ),
  edge: {
    workspaces: ['openresty', 'libs/service-kit'],
    files: [
      ...['deploy/images/edge.sh', 'deploy/images/health.mjs', 'deploy/local/package.json'],
      ...['deploy/local/src/edge-main.ts', 'deploy/local/src/tls-settings.ts'],
    ],
  },
  'set-up': {
    workspaces: ['openresty', 'libs/service-kit'],
    files: ['deploy/images/set-up.ts', 'deploy/local/package.json', 'deploy/local/src', 'deploy/local/bin'],
  },
};

const out = resolve(process.argv[2] ?? 'dist/images');
for (const [name, { workspaces, files }] of Object.entries(PARTS)) {
  const home = join(out, name);
  const copy = (path: string, keep: (path: string) => boolean = () => true): void => {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    cpSync(join(ROOT, path), join(home, path), { recursive: true, verbatimSymlinks: true, filter: keep });
  };
  const needed = serverFiles(ROOT, workspaces);
  for (const folder of needed.packages) copy(folder, isOwn(join(ROOT, folder)));
  for (const folder of needed.workspaces) copy(folder, isNeeded(join(ROOT, folder)));
  for (const link of needed.links) copy(link);
  for (const file of ['package.json', ...files]) copy(file);
  writeFileSync(join(home, 'sbom.cdx.json'), sbom(workspaces));
}

execFileSync(process.execPath, ['agent/cli/build.ts', join(out, 'agent')], { cwd: ROOT, stdio: 'inherit', timeout: STEP_MS });
writeFileSync(join(out, 'agent/sbom.cdx.json'), sbom(['agent/cli']));

function sbom(workspaces: readonly string[]): string {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--omit', 'dev', '--package-lock-only'];
  const selected = workspaces.flatMap((folder) => ['--workspace', folder]);
  return execFileSync('npm', [...args, ...selected], {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 ** 2,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: STEP_MS,
  });
}
