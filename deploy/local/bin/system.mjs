// Programs that come from the system: found, or installed from Debian when root, or named so that somebody can.
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const LUA_ROOTS = [
  '/usr/share/lua/5.1',
  '/usr/local/share/lua/5.1',
  '/usr/local/openresty/lualib',
  '/usr/local/openresty/site/lualib',
];
const NGINX_LUA = [
  '/usr/lib/nginx/modules/ngx_http_lua_module.so',
  '/usr/local/openresty/nginx/sbin/nginx',
  '/usr/lib64/nginx/modules/ngx_http_lua_module.so',
];
const lua = (...files) => files.some((file) => LUA_ROOTS.some((root) => existsSync(join(root, file))));

/** Debian keeps a folder for each version of PostgreSQL; the client alone makes one, too. */
function hasPostgres() {
  const root = '/usr/lib/postgresql';
  return existsSync(root) && readdirSync(root).some((version) => existsSync(join(root, version, 'bin/postgres')));
}

/** clang's sanitizers; their package has clang's version in its name. */
function hasSanitizers() {
  const root = '/usr/lib';
  const versions = readdirSync(root).filter((name) => /^llvm-[0-9]+$/.test(name));
  return versions.some((version) => existsSync(join(root, version, 'lib/clang')));
}

/** What a program of the stack needs: how to see it, and Debian's package for it. */
const NEEDS = {
  'redis-server': [{ package: 'redis-server', there: () => findProgram('redis-server') !== undefined }],
  'nats-server': [{ package: 'nats-server', there: () => findProgram('nats-server') !== undefined }],
  nginx: [
    { package: 'nginx', there: () => findProgram('nginx') !== undefined },
    { package: 'libnginx-mod-http-lua', there: () => NGINX_LUA.some((path) => existsSync(path)) },
    { package: 'lua-nginx-redis', there: () => lua('nginx/redis.lua', 'resty/redis.lua') },
    { package: 'lua-resty-core', there: () => lua('resty/core.lua') },
    { package: 'lua-resty-lrucache', there: () => lua('resty/lrucache.lua') },
  ],
  tls: [{ package: 'openssl', there: () => findProgram('openssl') !== undefined }], // makes the local authority
  chromium: [{ package: 'chromium', there: () => findProgram('chromium') !== undefined }],
  // Clients and servers of others, which the end-to-end tests put through a device.
  clients: [
    { package: 'zsh', there: () => findProgram('zsh') !== undefined },
    { package: 'fish', there: () => findProgram('fish') !== undefined },
    { package: 'curl', there: () => findProgram('curl') !== undefined },
    { package: 'netcat-openbsd', there: () => findProgram('nc.openbsd') !== undefined },
    { package: 'openssh-client', there: () => findProgram('scp') !== undefined },
    { package: 'openssh-server', there: () => findProgram('sshd') !== undefined },
    { package: 'openssl', there: () => findProgram('openssl') !== undefined },
    { package: 'postgresql', there: () => hasPostgres() && findProgram('psql') !== undefined },
    { package: 'python3', there: () => findProgram('python3') !== undefined },
    { package: 'python3-pip', there: () => spawnSync('python3', ['-m', 'pip', '--version']).status === 0 },
  ],
  // The C agent: two compilers, since each finds what the other does not, and what its library is checked with.
  native: [
    { package: 'gcc', there: () => findProgram('gcc') !== undefined },
    { package: 'g++', there: () => findProgram('g++') !== undefined },
    { package: 'libc6-dev', there: () => existsSync('/usr/include/stdio.h') },
    { package: 'clang', there: () => findProgram('clang') !== undefined },
    { package: 'make', there: () => findProgram('make') !== undefined },
    { package: 'cmake', there: () => findProgram('cmake') !== undefined },
    { package: 'pkg-config', there: () => findProgram('pkg-config') !== undefined },
    { package: 'valgrind', there: () => findProgram('valgrind') !== undefined },
    { package: 'libmbedtls-dev', there: () => existsSync('/usr/include/mbedtls/ssl.h') },
    { package: 'libclang-rt-14-dev', there: () => hasSanitizers() },
  ],
  // Compilers and emulators for every machine that the C agent is built for.
  cross: [
    ...[
      ['i686-linux-gnu', 'i386'],
      ['aarch64-linux-gnu', 'arm64'],
      ['arm-linux-gnueabihf', 'armhf'],
      ['arm-linux-gnueabi', 'armel'],
      ['mips-linux-gnu', 'mips'],
      ['mipsel-linux-gnu', 'mipsel'],
      ['mips64el-linux-gnuabi64', 'mips64el'],
      ['riscv64-linux-gnu', 'riscv64'],
    ].flatMap(([triplet, architecture]) => [
      { package: `gcc-${triplet}`, there: () => findProgram(`${triplet}-gcc`) !== undefined },
      { package: `libc6-dev-${architecture}-cross`, there: () => existsSync(`/usr/${triplet}/include/stdio.h`) },
    ]),
    { package: 'gcc-mingw-w64-x86-64', there: () => findProgram('x86_64-w64-mingw32-gcc') !== undefined },
    { package: 'gcc-mingw-w64-i686', there: () => findProgram('i686-w64-mingw32-gcc') !== undefined },
    { package: 'gcc-arm-none-eabi', there: () => findProgram('arm-none-eabi-gcc') !== undefined },
    { package: 'libnewlib-arm-none-eabi', there: () => existsSync('/usr/lib/arm-none-eabi/newlib') },
    { package: 'dpkg-dev', there: () => findProgram('dpkg-source') !== undefined }, // unpacks the source of mbedTLS
    { package: 'qemu-user-static', there: () => findProgram('qemu-mips-static') !== undefined },
    { package: 'wine', there: () => findProgram('wine') !== undefined },
    { package: 'wine64', there: () => existsSync('/usr/lib/wine/wine64') || existsSync('/usr/lib/wine/wineserver64') },
  ],
  // The microcontroller port: its compiler, and the board as an emulator.
  firmware: [
    { package: 'gcc-arm-none-eabi', there: () => findProgram('arm-none-eabi-gcc') !== undefined },
    { package: 'libnewlib-arm-none-eabi', there: () => existsSync('/usr/lib/arm-none-eabi/newlib/nano.specs') },
    { package: 'cmake', there: () => findProgram('cmake') !== undefined },
    { package: 'make', there: () => findProgram('make') !== undefined },
    { package: 'dpkg-dev', there: () => findProgram('dpkg-source') !== undefined }, // unpacks the source of lwIP
    { package: 'qemu-system-arm', there: () => findProgram('qemu-system-arm') !== undefined },
  ],
  // Checks alert rules and PromQL.
  observability: [{ package: 'prometheus', there: () => findProgram('promtool') !== undefined }],
  // Keeps the objects of a Kubernetes API server.
  kubernetes: [{ package: 'etcd-server', there: () => findProgram('etcd') !== undefined }],
  // An engine of its own for tests of the images, and what their bases are made with; root is needed besides.
  containers: [
    { package: 'docker.io', there: () => findProgram('dockerd') !== undefined && findProgram('docker') !== undefined },
    { package: 'docker-compose', there: () => findProgram('docker-compose') !== undefined },
    { package: 'debootstrap', there: () => findProgram('debootstrap') !== undefined },
    { package: 'iptables', there: () => findProgram('iptables') !== undefined },
    { package: 'iproute2', there: () => findProgram('ip') !== undefined },
    { package: 'util-linux', there: () => findProgram('nsenter') !== undefined },
  ],
  // What tests of bad networks build them with; they need root besides.
  networks: [
    { package: 'iproute2', there: () => findProgram('ip') !== undefined && findProgram('ss') !== undefined },
    { package: 'nftables', there: () => findProgram('nft') !== undefined },
    { package: 'conntrack', there: () => findProgram('conntrack') !== undefined },
    { package: 'procps', there: () => findProgram('sysctl') !== undefined },
    { package: 'util-linux', there: () => findProgram('nsenter') !== undefined },
    { package: 'python3', there: () => findProgram('python3') !== undefined },
  ],
};

/** Path of a program in PATH, or where Debian keeps servers, which the PATH of ordinary users lacks. */
export function findProgram(name) {
  for (const folder of [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      if (folder !== '') return path;
    } catch {
      // not here
    }
  }
  return undefined;
}

/** Debian packages that the named programs need and that are not there. */
export function missingPackages(programs) {
  return programs.flatMap((program) => NEEDS[program].filter((need) => !need.there()).map((need) => need.package));
}

/** Installs what the programs need; without the right to, throws an error that names the packages. */
export async function installSystemPackages(programs) {
  const missing = missingPackages(programs);
  if (missing.length === 0) return;
  const byHand = `apt-get install --no-install-recommends ${missing.join(' ')}`;
  if (process.getuid?.() !== 0 || findProgram('apt-get') === undefined) {
    throw new Error(
      `These programs are missing: ${missing.join(', ')}.\nInstall them (on Debian, as root: ${byHand}) and start again.`,
    );
  }
  console.log(`installing from Debian: ${missing.join(', ')}`);
  const undo = forbidServiceStarts();
  try {
    const until = Date.now() + 300_000;
    // The lock of the package lists has no time-out of its own.
    while (!(await apt(['update', '-q'])) && Date.now() < until) await new Promise((done) => setTimeout(done, 5_000));
    if (!(await apt(['install', '-y', '-q', '--no-install-recommends', ...missing]))) {
      throw new Error(`The installation failed; run it by hand to see why: ${byHand}`);
    }
  } finally {
    undo();
  }
  const still = missingPackages(programs);
  if (still.length > 0) throw new Error(`Installed, but still not found: ${still.join(', ')}`);
}

/** Debian starts a service as soon as it is installed; the stack runs private ones. A policy that is there stays as it is. */
function forbidServiceStarts() {
  const path = '/usr/sbin/policy-rc.d';
  if (existsSync(path)) return () => {};
  writeFileSync(path, '#!/bin/sh\nexit 101\n', { mode: 0o755, flag: 'wx' });
  const undo = () => rmSync(path, { force: true });
  process.once('exit', undo);
  const ended = () => process.exit(130);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, ended);
  return () => {
    undo();
    process.off('exit', undo);
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.off(signal, ended);
  };
}

async function apt(args) {
  const child = spawn('apt-get', ['-o', 'DPkg::Lock::Timeout=300', ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return new Promise((resolve) => {
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}
