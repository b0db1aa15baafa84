/**
 * `npm run package:deb [-- --out FOLDER --compress xz|none]`: a folder to publish, `dist/release` by default: the Debian packages for
 * machines like this one, the C agent as one static program, the install script, and SHA256SUMS over all of them.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildDashboard } from '../../../dashboard/build.ts';
import { installSystemPackages } from '../../local/bin/system.mjs';
import { type Deb, DebTree } from './deb.ts';
import { isNeeded, isOwn, serverFiles } from './server-files.ts';
import { AGENT_CONF, AGENT_ENV, COMMON_ENV, EDGE_ENV } from './texts.ts';

const ROOT = resolve(import.meta.dirname, '../../..');
const BUILD_MS = 300_000;
const MACHINES: Partial<Record<string, { debian: string; target: string }>> = {
  x64: { debian: 'amd64', target: 'x86_64' },
  arm64: { debian: 'arm64', target: 'aarch64' },
};

const { values } = parseArgs({
  options: { out: { type: 'string', default: join(ROOT, 'dist/release') }, compress: { type: 'string', default: 'xz' } },
});
const machine = MACHINES[process.arch];
if (machine === undefined) throw new Error(`there are no packages for ${process.arch}; expected x64 or arm64`);
const out = resolve(values.out);
const { version, license } = {
  ...(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string; license: string }),
};
const unit = (name: string): string => join(ROOT, 'deploy/systemd', name);

await installSystemPackages(['native']);
await buildDashboard();
rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const work = mkdtempSync(join(tmpdir(), 'culvert-release-'));
try {
  const run = (command: string, args: string[]): void =>
    void execFileSync(command, args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'], timeout: BUILD_MS });

  const program = join(out, `culvert-agent-${machine.target}`);
  const native = join(work, 'native');
  run('cmake', ['-S', 'agent/native', '-B', native, '-DCULVERT_STATIC=ON']);
  run('cmake', ['--build', native, '--target', 'culvert-agent', '--parallel', '2']);
  run('strip', ['-o', program, join(native, 'culvert-agent')]);
  run(process.execPath, ['agent/cli/build.ts', join(work, 'agent')]);

  const start = (deb: Omit<Deb, 'version'>): DebTree => {
    const tree = new DebTree({ ...deb, version }, join(work, deb.name));
    tree.write(`usr/share/doc/${deb.name}/copyright`, `Culvert ${version}. License: ${license}\n`);
    return tree;
  };
  const trees = [nodePackage(start), agentPackage(start), nativePackage(start, program), serverPackage(start)];
  for (const tree of trees) console.log(tree.build(out, values.compress));

  copyFileSync(unit('culvert-agent-native.service'), join(out, 'culvert-agent-native.service'));
  copyFileSync(join(ROOT, 'deploy/packages/install.sh'), join(out, 'install.sh'));
  const sums = readdirSync(out).map((name) => {
    const sum = createHash('sha256').update(readFileSync(join(out, name)));
    return `${sum.digest('hex')}  ${name}\n`;
  });
  writeFileSync(join(out, 'SHA256SUMS'), sums.join(''));
} finally {
  rmSync(work, { recursive: true, force: true });
}

type Start = (deb: Omit<Deb, 'version'>) => DebTree;

/** Debian's Node is too old; this one is used by our packages alone and stands in nobody's PATH. */
function nodePackage(begin: Start): DebTree {
  const runtime = `node-linux-${process.arch}`;
  const tree = begin({
    ...{ name: 'culvert-node', architecture: machine?.debian ?? '', depends: 'libc6, libstdc++6' },
    summary: 'Node.js for Culvert',
    description: 'The runtime of the packages culvert and culvert-server.',
  });
  tree.copy(createRequire(import.meta.url).resolve(`${runtime}/bin/node`), 'usr/lib/culvert/node');
  return tree;
}

function agentPackage(begin: Start): DebTree {
  const tree = begin({
    ...{ name: 'culvert', architecture: 'all', depends: 'culvert-node, ca-certificates' },
    summary: 'makes this device reachable, and operates others',
    description: 'The command culvert: the agent for devices, and what operators need.',
  });
  for (const folder of ['bin', 'lib', 'package.json']) tree.copy(join(work, 'agent', folder), `usr/lib/culvert/agent/${folder}`);
  const command = 'exec /usr/lib/culvert/node /usr/lib/culvert/agent/bin/culvert.mjs "$@"';
  tree.write('usr/bin/culvert', `#!/bin/sh\n${command}\n`, 0o755);
  tree.configure('etc/culvert-agent/agent.env', AGENT_ENV);
  tree.unit(unit('culvert-agent.service'));
  return tree;
}

function nativePackage(begin: Start, program: string): DebTree {
  const tree = begin({
    ...{ name: 'culvert-agent', architecture: machine?.debian ?? '', depends: 'ca-certificates' },
    summary: 'makes this device reachable (small)',
    description: "Culvert's agent in C: one static program without dependencies.",
  });
  tree.copy(program, 'usr/bin/culvert-agent');
  tree.configure('etc/culvert-agent/agent.conf', AGENT_CONF);
  tree.unit(unit('culvert-agent-native.service'));
  return tree;
}

function serverPackage(begin: Start): DebTree {
  const tree = begin({
    ...{ name: 'culvert-server', architecture: machine?.debian ?? '', depends: 'culvert-node, ca-certificates' },
    suggests: 'nginx, libnginx-mod-http-lua, lua-nginx-redis, lua-resty-core, lua-resty-lrucache, redis-server, nats-server',
    summary: 'the services and the edge of Culvert',
    description:
      'ws-ingress, tcp-listener, lease-manager, port-allocator, admin, and the edge,\nfor which nginx is needed besides.',
  });
  const home = 'usr/lib/culvert/server';
  const { packages, workspaces, links } = serverFiles(ROOT);
  for (const folder of packages) tree.copy(join(ROOT, folder), `${home}/${folder}`, isOwn(join(ROOT, folder)));
  for (const folder of workspaces) tree.copy(join(ROOT, folder), `${home}/${folder}`, isNeeded(join(ROOT, folder)));
  for (const link of links) tree.copy(join(ROOT, link), `${home}/${link}`);
  for (const file of ['package.json', 'src/edge-main.ts', 'src/tls-settings.ts'])
    tree.copy(join(ROOT, 'deploy/local', file), `${home}/deploy/local/${file}`);
  tree.copy(join(ROOT, 'dashboard/dist'), `${home}/dashboard/dist`);
  tree.configure('etc/culvert/common.env', COMMON_ENV, 0o600);
  tree.configure('etc/culvert/edge.env', EDGE_ENV, 0o600);
  for (const name of readdirSync(unit('')).filter((file) => file.endsWith('.service') && !file.startsWith('culvert-agent')))
    tree.unit(unit(name));
  return tree;
}
