import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findProgram } from '../../deploy/local/bin/system.mjs';

const ROOT = join(import.meta.dirname, '../..');
const STEP_MS = 1_200_000;

/** What stands for the images of others: the arguments of our Dockerfile, and settings of deploy/compose. */
export const BASES = {
  NODE_IMAGE: 'culvert-base/node:local',
  RUNTIME_IMAGE: 'culvert-base/runtime:local',
  EDGE_IMAGE: 'culvert-base/debian:local',
  NATIVE_IMAGE: 'culvert-base/debian:local',
} as const;
export const SERVERS = {
  CULVERT_REDIS_IMAGE: 'culvert-base/debian:local',
  CULVERT_NATS_IMAGE: 'culvert-base/nats:local',
  CULVERT_PROMETHEUS_IMAGE: 'culvert-base/prometheus:local',
} as const;

/** Everything that the bases have beyond the smallest Debian. */
const PACKAGES = [
  ...['ca-certificates', 'openssl', 'redis-server', 'nats-server'],
  ...['nginx', 'libnginx-mod-http-lua', 'lua-nginx-redis', 'lua-resty-core', 'lua-resty-lrucache'],
  ...['cmake', 'make', 'gcc', 'libc6-dev', 'libmbedtls-dev', 'pkg-config'],
];
/** What Node is linked to, and what finds names: an image without a shell, as the published base is. */
const LIBRARIES = [
  'libc',
  'libm',
  'libdl',
  'libpthread',
  'librt',
  'libresolv',
  'libnss_dns',
  'libnss_files',
  'libstdc++',
  'libgcc_s',
  'libatomic',
];

/** Runs a program to its end. @throws Error with the end of what it said. */
export function step(
  command: string,
  args: readonly string[],
  options: { input?: string; cwd?: string; env?: object } = {},
): Promise<void> {
  const { input, cwd = ROOT, env = {} } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, [...args], { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-6_000)));
    const late = setTimeout(() => child.kill('SIGKILL'), STEP_MS);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(late);
      if (code === 0) resolve();
      else reject(new Error(`${command} ${args.slice(0, 6).join(' ')} ended with ${code}:\n${said}`));
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input ?? '');
  });
}

/** Makes the local bases. The builds have no network: the base with Node brings the packages of package-lock.json in npm's cache. */
export async function makeBases(host: string): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), 'culvert-bases-'));
  const root = join(work, 'root');
  const env = { DOCKER_HOST: host, DOCKER_BUILDKIT: '0', DEBIAN_FRONTEND: 'noninteractive' };
  try {
    await Promise.all([debian(root, env), npmCache(work)]);
    const outside = ['./proc/*', './sys/*', './var/lib/apt/lists/*', './var/cache/apt/*'].map((path) => `--exclude=${path}`);
    await pipe(['tar', '-C', root, '--one-file-system', ...outside, '-cf', '-', '.'], BASES.EDGE_IMAGE, env);
    await pipe(['tar', '-C', root, '-cf', '-', ...runtimeFiles(root)], BASES.RUNTIME_IMAGE, env);
    rmSync(root, { recursive: true, force: true });
    const nats = `FROM ${BASES.EDGE_IMAGE}\nENTRYPOINT ["/usr/sbin/nats-server"]\n`;
    await step('docker', ['build', '-q', '--network', 'none', '-t', SERVERS.CULVERT_NATS_IMAGE, '-'], { input: nats, env });
    await prometheus(join(work, 'prometheus'), env);
    await step('docker', ['build', '-q', '--network', 'none', '-t', BASES.NODE_IMAGE, join(work, 'node')], { env });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The machine's own program, which is of the same Debian. */
async function prometheus(context: string, env: object): Promise<void> {
  mkdirSync(context);
  cpSync(findProgram('prometheus') ?? '/usr/bin/prometheus', join(context, 'prometheus'), { dereference: true });
  const lines = [`FROM ${BASES.EDGE_IMAGE}`, 'COPY prometheus /bin/prometheus', 'ENTRYPOINT ["/bin/prometheus"]'];
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
  await step('docker', ['build', '-q', '--network', 'none', '-t', SERVERS.CULVERT_PROMETHEUS_IMAGE, context], { env });
}

async function debian(root: string, env: object): Promise<void> {
  const suite = /^VERSION_CODENAME=(.+)$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'stable';
  await step('debootstrap', ['--variant=minbase', suite, root], { env });
  cpSync('/etc/resolv.conf', join(root, 'etc/resolv.conf'), { dereference: true });
  // Nothing of what is installed is to be started.
  writeFileSync(join(root, 'usr/sbin/policy-rc.d'), '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  await step('chroot', [root, 'apt-get', 'install', '-y', '-q', '--no-install-recommends', ...PACKAGES], { env });
}

/** `node/`: Node and npm of this repository, npm's cache filled by this machine, and a Dockerfile. */
async function npmCache(work: string): Promise<void> {
  const context = join(work, 'node');
  const repository = join(work, 'repository');
  mkdirSync(context);
  mkdirSync(repository);
  await step('sh', [
    '-c',
    'git ls-files "*package.json" package-lock.json .npmrc | tar -cf - -T - | tar -xf - -C "$1"',
    'sh',
    repository,
  ]);
  const cli = npmCli();
  await step(process.execPath, [cli, 'ci', '--ignore-scripts', '--no-audit', '--no-fund', '--cache', join(context, 'cache')], {
    cwd: repository,
  });
  rmSync(repository, { recursive: true, force: true });
  cpSync(process.execPath, join(context, 'node'));
  cpSync(join(dirname(cli), '..'), join(context, 'npm'), { recursive: true, verbatimSymlinks: true });
  const lines = [
    `FROM ${BASES.EDGE_IMAGE}`,
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'COPY node /usr/local/bin/node',
    'COPY npm /usr/local/lib/node_modules/npm',
    'COPY cache /root/.npm',
    'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && npm config set offline true --location=global',
  ];
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`);
}

function npmCli(): string {
  const given = process.env.npm_execpath;
  const found = [
    given ?? '',
    '/usr/lib/node_modules/npm/bin/npm-cli.js',
    '/usr/share/nodejs/npm/bin/npm-cli.js',
    '/usr/local/lib/node_modules/npm/bin/npm-cli.js',
  ];
  const cli = found.find((path) => path.endsWith('.js') && existsSync(path));
  if (cli === undefined) throw new Error('npm was not found; run this by npm run test:containers');
  return cli;
}

function runtimeFiles(root: string): string[] {
  const folder = process.arch === 'arm64' ? 'usr/lib/aarch64-linux-gnu' : 'usr/lib/x86_64-linux-gnu';
  const loaders = [
    'usr/lib64/ld-linux-x86-64.so.2',
    `${folder}/ld-linux-x86-64.so.2`,
    `${folder}/ld-linux-aarch64.so.1`,
    'usr/lib/ld-linux-aarch64.so.1',
  ];
  const versions = ['0', '1', '2', '6'];
  const libraries = LIBRARIES.flatMap((name) => versions.map((version) => `${folder}/${name}.so.${version}`));
  const there = (path: string): boolean => lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
  const targets = (path: string): string[] => {
    if (!lstatSync(join(root, path)).isSymbolicLink()) return [path];
    const target = readlinkSync(join(root, path));
    return target.includes('/') ? [path] : [path, join(dirname(path), target)];
  };
  const more = ['lib', 'lib64', 'etc/ssl/certs/ca-certificates.crt', 'etc/nsswitch.conf', 'etc/passwd', 'etc/group', 'tmp'];
  return [...more.filter(there), ...[...loaders, ...libraries].filter(there).flatMap(targets)];
}

async function pipe([command = '', ...args]: readonly string[], image: string, env: object): Promise<void> {
  const quoted = [command, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const path = 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  await step('sh', ['-c', `${quoted} | docker import -c '${path}' - '${image}'`], { env });
}
