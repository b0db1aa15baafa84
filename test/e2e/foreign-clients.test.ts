import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RunningAccess } from '../harness/access.ts';
import { freePort } from '../harness/servers.ts';
import { type Stack, startStack } from '../harness/system.ts';
import { client, curl, tcpVisitor, until } from './support.ts';

let stack: Stack;
let dir: string;
const endings: (() => unknown)[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'culvert-foreign-'));
  await chmod(dir, 0o755);
  stack = await startStack({});
});
afterAll(async () => {
  for (const end of endings.reverse()) await end();
  await stack?.stop();
  await rm(dir, { recursive: true, force: true });
});

describe('OpenSSH', () => {
  it('runs a command and copies a file through a device, equal to the last byte', async () => {
    for (const key of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, key)]);
    const port = await freePort();
    const settings = [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${dir}/host`,
      `AuthorizedKeysFile ${dir}/user.pub`,
      'StrictModes no',
      'PidFile none',
      'UsePAM no',
      'PermitRootLogin yes',
      'Subsystem sftp internal-sftp',
    ];
    await writeFile(join(dir, 'sshd_config'), settings.join('\n'));
    await mkdir('/run/sshd', { recursive: true });
    const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(dir, 'sshd_config')], { stdio: 'ignore' });
    endings.push(() => server.kill());
    const agent = await stack.runAgent({
      name: 'shell',
      token: await stack.addDevice('shell'),
      mappings: [`tcp:22=127.0.0.1:${port}`],
    });
    endings.push(() => agent.stop());
    const options = [
      '-F',
      'none',
      '-i',
      join(dir, 'user'),
      '-o',
      'StrictHostKeyChecking=no',
      '-o',
      `UserKnownHostsFile=${dir}/known`,
      '-o',
      'BatchMode=yes',
    ];
    const publicPort = String(agent.endpoint(22).public_port);
    const user = execFileSync('id', ['-un']).toString().trim();
    const said = await until('ssh', async () => {
      const answer = await client('ssh', [...options, '-p', publicPort, `${user}@127.0.0.1`, 'echo through the culvert']);
      return answer.code === 0 ? answer.stdout : undefined;
    });
    expect(said.trim()).toBe('through the culvert');
    const bytes = randomBytes(8 << 20);
    await writeFile(join(dir, 'sent'), bytes);
    const copied = await client('scp', [...options, '-P', publicPort, join(dir, 'sent'), `${user}@127.0.0.1:${dir}/received`]);
    expect(copied.code).toBe(0);
    const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    expect(digest(await readFile(join(dir, 'received')))).toBe(digest(bytes));
  });
});

describe('psql', () => {
  it('asks a PostgreSQL server through a device, by its public port and by culvert forward', async () => {
    const bin = ['17', '16', '15', '14'].map((version) => `/usr/lib/postgresql/${version}/bin`).find((path) => existsSync(path));
    if (bin === undefined) throw new Error('no PostgreSQL server found; install the package postgresql');
    const data = join(dir, 'pg');
    const port = await freePort();
    // initdb refuses root; Debian's package makes the user postgres.
    const as =
      process.getuid?.() === 0
        ? { uid: Number(execFileSync('id', ['-u', 'postgres'])), gid: Number(execFileSync('id', ['-g', 'postgres'])) }
        : {};
    await mkdir(data);
    if (as.uid !== undefined) execFileSync('chown', ['postgres', data]);
    execFileSync(join(bin, 'initdb'), ['-D', data, '-A', 'trust', '-U', 'postgres', '--no-sync'], {
      ...as,
      cwd: '/',
      stdio: 'ignore',
    });
    const server = spawn(
      join(bin, 'postgres'),
      ['-D', data, '-p', String(port), '-k', data, '-c', 'listen_addresses=127.0.0.1'],
      { ...as, cwd: '/', stdio: 'ignore' },
    );
    endings.push(async () => {
      server.kill('SIGINT');
      await new Promise((done) => server.once('exit', done));
    });
    const agent = await stack.runAgent({
      name: 'base',
      token: await stack.addDevice('base'),
      mappings: [`tcp:5432=127.0.0.1:${port}`],
    });
    endings.push(() => agent.stop());
    const forward = new RunningAccess(['--state-dir', stack.stateDir, 'forward', 'base', '0:5432']);
    endings.push(() => forward.stop());
    const [forwarded] = await forward.ports();
    const query = ['-U', 'postgres', '-Atc', 'select sum(n) from generate_series(1, 100000) as n'];
    for (const at of [agent.endpoint(5432).public_port, forwarded]) {
      const answer = await until(`psql at ${at}`, async () => {
        const got = await client('psql', ['-h', '127.0.0.1', '-p', String(at), ...query]);
        return got.code === 0 ? got.stdout.trim() : undefined;
      });
      expect(answer).toBe('5000050000');
    }
    // A bulk answer, and a server that speaks between requests.
    const rows = await client('psql', [
      '-h',
      '127.0.0.1',
      '-p',
      String(forwarded),
      '-U',
      'postgres',
      '-Atc',
      'select repeat(n::text, 100) from generate_series(1, 20000) as n',
    ]);
    expect(rows.stdout.trim().split('\n')).toHaveLength(20_000);
    expect(rows.stdout.trim().split('\n').at(-1)).toBe('20000'.repeat(100));
  });
});

describe('a device in Python, written from PROTOCOL.md', () => {
  it('connects, serves http and tcp, and is refused as it should be', async () => {
    const script = new URL('../conformance/python/device.py', import.meta.url).pathname;
    const token = await stack.addDevice('python');
    const { port } = new URL(stack.info.edge);
    const start = (
      name: string,
      secret: string,
    ): { lines: Record<string, unknown>[]; exit: Promise<number | null>; kill(): void } => {
      const tokenFile = join(dir, `token-${secret.length}`);
      writeFileSync(tokenFile, secret, { mode: 0o600 });
      const child = spawn(
        'python3',
        [script, '--server', `http://127.0.0.1:${port}`, '--name', name, '--ports', '80,tcp:7', '--token-file', tokenFile],
        {
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      const lines: Record<string, unknown>[] = [];
      let rest = '';
      child.stdout.on('data', (chunk) => {
        const parts = (rest + chunk).split('\n');
        rest = parts.pop() ?? '';
        for (const line of parts) lines.push(JSON.parse(line));
      });
      endings.push(() => child.kill('SIGKILL'));
      return { lines, exit: new Promise((resolve) => child.once('exit', resolve)), kill: () => void child.kill('SIGTERM') };
    };
    const device = start('python', token);
    const ready = await until('ready', () => device.lines.find(({ event, type }) => (event ?? type) === 'ready'));
    expect(ready).toBeDefined();
    const shown = JSON.parse((await stack.culvert('device', 'show', 'python', '--json')).stdout);
    const [web, tcp] = shown.endpoints;
    expect((await curl(stack.info.edge, web.host, '/')).stdout).toMatch(/<h1>|python/i);
    expect((await tcpVisitor(tcp.public_port, 'half-close works')).data.toString()).toContain('half-close works');

    const twin = start('python', token);
    await twin.exit;
    expect(JSON.stringify(twin.lines)).toContain('name_in_use');
    const stranger = start('python', `${token}x`);
    await stranger.exit;
    expect(JSON.stringify(stranger.lines)).toContain('unauthorized');
    device.kill();
    await device.exit;
  });
});
