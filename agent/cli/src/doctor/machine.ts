import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { type Finding, failed, ok, unknown, warning } from './check.ts';

const run = promisify(execFile);
const ANSWER_MS = 5_000;

/** Programs of a server, the argument that makes them tell their version, and the oldest that is tried by our tests. */
const PROGRAMS = [
  { program: 'redis-server', args: ['--version'], pattern: /v=(\d+)\.(\d+)/, least: [7, 0] },
  { program: 'nats-server', args: ['--version'], pattern: /v?(\d+)\.(\d+)/, least: [2, 9] },
  { program: 'nginx', args: ['-v'], pattern: /(?:nginx|openresty)\/(\d+)\.(\d+)/, least: [1, 22] },
] as const;
const LUA_MODULES = [
  '/usr/lib/nginx/modules/ngx_http_lua_module.so',
  '/usr/lib64/nginx/modules/ngx_http_lua_module.so',
  '/usr/local/openresty/nginx/sbin/nginx',
];
const MANY_DESCRIPTORS = 65_536;
const SOMAXCONN = 4_096;

/** Node runs this very program, so it is new enough: what is told is which. */
export function nodeVersion(): Finding {
  return ok('versions', 'node', process.versions.node);
}

/** The programs that a server needs. */
export async function programVersions(path = process.env.PATH ?? ''): Promise<Finding[]> {
  const env = { ...process.env, PATH: `${path}:/usr/sbin:/sbin:/usr/local/openresty/bin` };
  const found = PROGRAMS.map(async ({ program, args, pattern, least }): Promise<Finding> => {
    let text: string;
    try {
      const { stdout, stderr } = await run(program, args, { env, timeout: ANSWER_MS });
      text = stdout + stderr; // nginx tells it on standard error
    } catch {
      return failed('versions', program, 'not found', `install ${program}; npm start does so on Debian when it runs as root`);
    }
    const [, major, minor] = pattern.exec(text) ?? [];
    if (major === undefined) return unknown('versions', program, text.trim().slice(0, 80));
    const version = `${major}.${minor}`;
    const enough = Number(major) > least[0] || (Number(major) === least[0] && Number(minor) >= least[1]);
    if (enough) return ok('versions', program, version);
    return failed('versions', program, version, `install ${least.join('.')} or newer`);
  });
  const lua = LUA_MODULES.some((file) => existsSync(file))
    ? ok('versions', 'nginx with Lua', 'found')
    : failed('versions', 'nginx with Lua', 'not found', "install libnginx-mod-http-lua, or OpenResty in nginx's place");
  return [...(await Promise.all(found)), lua];
}

/** What the kernel lets one process have. What cannot be read is not judged. */
export function limits(role: 'device' | 'server', proc = '/proc'): Finding[] {
  const line = read(`${proc}/self/limits`)?.match(/^Max open files\s+(\S+)/m)?.[1];
  const wanted = role === 'server' ? MANY_DESCRIPTORS : 1_024;
  const files =
    line === undefined
      ? unknown('limits', 'open files', 'this system does not tell')
      : line === 'unlimited' || Number(line) >= wanted
        ? ok('limits', 'open files', line)
        : warning(
            'limits',
            'open files',
            `${line}: about as many connections at once`,
            `"ulimit -n ${wanted}", or LimitNOFILE=${wanted} in the unit`,
          );
  if (role === 'device') return [files];
  const backlog = Number(read(`${proc}/sys/net/core/somaxconn`) ?? Number.NaN);
  if (Number.isNaN(backlog)) return [files, unknown('limits', 'somaxconn', 'this system does not tell')];
  if (backlog >= SOMAXCONN) return [files, ok('limits', 'somaxconn', String(backlog))];
  return [
    files,
    warning(
      'limits',
      'somaxconn',
      String(backlog),
      `sysctl -w net.core.somaxconn=${SOMAXCONN}: a storm of devices is refused else`,
    ),
  ];
}

/** May the port be listened on here? `ours`: a stack of ours runs, and has it. */
export async function portFree(port: number, what: string, ours: boolean): Promise<Finding> {
  const code = await new Promise<string>((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host: '::' }, () => server.close(() => resolve('')));
  });
  if (code === '') return ok('ports', what, `${port} is free`);
  if (code === 'EADDRINUSE' && ours) return ok('ports', what, `${port} is the running stack's`);
  if (code === 'EADDRINUSE') {
    return failed(
      'ports',
      what,
      `${port} is taken by another program`,
      `end it (ss -ltnp 'sport = :${port}'), or set another port`,
    );
  }
  if (code === 'EACCES')
    return failed('ports', what, `${port} may not be bound by this user`, 'use a port above 1023, or CAP_NET_BIND_SERVICE');
  return unknown('ports', what, `${port}: ${code}`);
}

/** Is the clock kept right by somebody? */
export async function clockKept(): Promise<Finding> {
  if (existsSync('/run/systemd/timesync/synchronized')) return ok('clock', 'synchronized', 'by systemd-timesyncd');
  try {
    const { stdout } = await run('timedatectl', ['show', '-p', 'NTPSynchronized', '--value'], { timeout: ANSWER_MS });
    if (stdout.trim() === 'yes') return ok('clock', 'synchronized', 'timedatectl says so');
    return warning(
      'clock',
      'synchronized',
      'nobody keeps the clock right',
      'timedatectl set-ntp true, or run chrony: TLS and expiries need it',
    );
  } catch {
    return unknown('clock', 'synchronized', 'this system does not tell');
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
