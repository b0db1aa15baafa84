/**
 * `assemble.ts OUT`: lays out what each image holds, in `OUT/<target>`, from a repository whose packages are installed: npm's own
 * answer for what a part depends on, tests and tools left out, and a list of it all (`sbom.cdx.json`, CycloneDX).
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { buildDashboard } from '../../dashboard/build.ts';
import { isNeeded, isOwn, serverFiles } from '../packages/src/server-files.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const STEP_MS = 600_000;

interface Part {
  /** Workspaces that the part is; those they depend on follow. */
  workspaces: readonly string[];
  /** Files beside them. */
  files: readonly string[];
}

/** CycloneDX, as far as it is looked at here. */
interface Sbom {
  metadata: { component: object };
  /** npm refers to a package by `name@version`. */
  components: { 'bom-ref': string }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

const service = (name: string): Part => ({
  workspaces: [`services/${name}`],
  files: ['deploy/images/run.mjs', 'deploy/images/health.mjs'],
});

const PARTS: Readonly<Record<string, Part>> = {
  ...Object.fromEntries(['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator'].map((name) => [name, service(name)])),
  admin: { workspaces: service('admin').workspaces, files: [...service('admin').files, 'dashboard/dist'] },
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
const everything = allComponents();
await buildDashboard();
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
  writeFileSync(join(home, 'sbom.cdx.json'), sbom(name, needed));
}

execFileSync(process.execPath, ['agent/cli/build.ts', join(out, 'agent')], { cwd: ROOT, stdio: 'inherit', timeout: STEP_MS });
writeFileSync(join(out, 'agent/sbom.cdx.json'), sbom('agent', serverFiles(ROOT, ['agent/cli'])));

function refOf(folder: string): string {
  const { name, version } = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Record<string, string>;
  return `${name}@${version}`;
}

function allComponents(): Sbom {
  const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application', '--package-lock-only'];
  const text = execFileSync('npm', args, {
    cwd: ROOT,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 ** 2,
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: STEP_MS,
  });
  return JSON.parse(text) as Sbom;
}

/** npm's list of everything, less what is not in the part. @throws Error when a package of the part is not in npm's list. */
function sbom(name: string, { packages, workspaces }: ReturnType<typeof serverFiles>): string {
  const refs = new Set([...packages, ...workspaces].map(refOf));
  const components = everything.components.filter((component) => refs.has(component['bom-ref']));
  const listed = new Set(components.map((component) => component['bom-ref']));
  const missing = [...refs].filter((ref) => !listed.has(ref));
  if (missing.length > 0) throw new Error(`npm's list lacks ${missing.join(', ')}, which ${name} needs`);
  const dependencies = everything.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((one) => refs.has(one)) }));
  const { component, ...metadata } = everything.metadata;
  const own = { ...component, name: `culvert-${name}` };
  return `${JSON.stringify({ ...everything, metadata: { ...metadata, component: own }, components, dependencies }, null, 2)}\n`;
}
