import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, RunningAccess } from '../harness/access.ts';
import { freePort } from '../harness/servers.ts';
import { type Stack, startStack } from '../harness/system.ts';
import { digestAfterEnd, echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { client, tcpVisitor, until } from './support.ts';

let stack: Stack;
let targets: Target[];
let token: string;
let dir: string;
const running: RunningAccess[] = [];
const endings: (() => unknown)[] = [];

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'culvert-access-'));
  stack = await startStack({ env: { CULVERT_LIMIT_LOCAL_CONNECT_MS: '2000' } });
  targets = [await startTcpTarget(digestAfterEnd), await startTcpTarget(echo), await startWebTarget()];
  const [digest, echoes, web] = targets.map(({ port }) => `127.0.0.1:${port}`);
  token = await stack.addDevice('alice');
  const mappings = [`tcp:7=${digest}`, `tcp:8=${echoes}`, `80=${web}`, `tcp:9=127.0.0.1:${await freePort()}`];
  await stack.runAgent({ name: 'alice', token, mappings });
});
afterAll(async () => {
  for (const one of running) await one.stop();
  for (const end of endings.reverse()) await end();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
  await rm(dir, { recursive: true, force: true });
});

function forward(...args: string[]): RunningAccess {
  const started = new RunningAccess(['--state-dir', stack.stateDir, 'forward', ...args]);
  running.push(started);
  return started;
}
const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

describe('culvert forward', () => {
  it('connects local ports to ports of a device, several at once, over IPv6 too', async () => {
    const [digests, echoes, web] = await forward('alice', '0:7', '[::1]:0:8', '127.0.0.1:0:80').ports(3);
    const bytes = randomBytes(3 << 20);
    const got = await tcpVisitor(digests as number, bytes);
    expect(got).toMatchObject({ ended: true, error: undefined });
    expect(got.data.toString()).toBe(`${bytes.length} ${digestOf(bytes)}\n`);
    expect((await tcpVisitor(echoes as number, 'echo', { host: '::1' })).data.toString()).toBe('echo');
    const page = await client('curl', ['-sS', '--max-time', '20', `http://127.0.0.1:${web}/`]);
    expect(page.stdout).toContain('<h1>hello from');
  });

  it('carries a hundred at once, each with its own bytes', async () => {
    const [port] = await forward('alice', '0:7').ports();
    const visits = Array.from({ length: 100 }, async () => {
      const bytes = randomBytes(64 << 10);
      const { data, error } = await tcpVisitor(port as number, bytes, { deadlineMs: 50_000 });
      expect(error).toBeUndefined();
      expect(data.toString()).toBe(`${bytes.length} ${digestOf(bytes)}\n`);
    });
    await Promise.all(visits);
  });

  it('tells events who visited', async () => {
    const events = await stack.events('conn.closed.alice');
    const [port] = await forward('alice', '0:8').ports();
    expect((await tcpVisitor(port as number, 'seen')).data.toString()).toBe('seen');
    let event = await events.next();
    while (event.data.port !== 8) event = await events.next(); // of earlier tests
    expect(event.data).toMatchObject({ visitor: 'operator:root', outcome: 'ok', to_device: 4 });
    await events.close();
  });

  it('resets the client when the local target refuses, and says so', async () => {
    const one = forward('alice', '0:9');
    const [port] = await one.ports();
    expect((await tcpVisitor(port as number, 'x', { end: false })).error).toBe('ECONNRESET');
    await until('the line about it', () => one.lines.find(({ event }) => event === 'failed'));
    expect(one.lines.at(-1)).toMatchObject({ event: 'failed', code: 'local_refused', device: 'alice', port: 9 });
  });

  it('says what is wrong before it listens, with an exit code of its own', async () => {
    await stack.addDevice('asleep');
    const asleep = await stack.culvert('forward', 'asleep', '0:22');
    expect(asleep).toMatchObject({ code: 5, stderr: expect.stringContaining('asleep is not connected') });
    const absent = await stack.culvert('forward', 'nobody', '0:22');
    expect(absent).toMatchObject({ code: 1, stderr: expect.stringContaining('nobody') });
    const closed = await stack.culvert('forward', 'alice', '0:2222');
    expect(closed).toMatchObject({ code: 1, stderr: expect.stringContaining('2222') });
    const wrong = new RunningAccess(['forward', 'alice', '0:7', '--server', stack.info.edge], {
      CULVERT_ADMIN_TOKEN: 'not-the-token',
    });
    expect(await wrong.exited).toBe(1);
    expect(wrong.stderr).toContain('unauthorized');
    const device = new RunningAccess(['forward', 'alice', '0:7', '--server', stack.info.edge], { CULVERT_ADMIN_TOKEN: token });
    expect(await device.exited).toBe(1);
    const usage = await stack.culvert('forward', 'alice', '99999:1', '-:70000', 'x');
    expect(usage.code).toBe(2);
    expect(usage.stderr.match(/mapping/g)?.length).toBeGreaterThanOrEqual(3);
    const away = new RunningAccess(['forward', 'alice', '0:7', '--server', 'http://127.0.0.1:1'], {
      CULVERT_ADMIN_TOKEN: 'x'.repeat(20),
    });
    expect(await away.exited).toBe(4);
  });

  it('carries ssh and scp by standard input and output', async () => {
    for (const key of ['host', 'user']) execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(dir, key)]);
    const port = await freePort();
    const settings = [`Port ${port}`, 'ListenAddress 127.0.0.1', `HostKey ${dir}/host`, `AuthorizedKeysFile ${dir}/user.pub`];
    settings.push('StrictModes no', 'PidFile none', 'UsePAM no', 'PermitRootLogin yes', 'Subsystem sftp internal-sftp');
    await writeFile(join(dir, 'sshd_config'), settings.join('\n'));
    await mkdir('/run/sshd', { recursive: true });
    const server = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(dir, 'sshd_config')], { stdio: 'ignore' });
    endings.push(() => server.kill());
    const shell = await stack.runAgent({
      name: 'shell',
      token: await stack.addDevice('shell'),
      mappings: [`tcp:22=127.0.0.1:${port}`],
    });
    endings.push(() => shell.stop());
    const proxy = `${process.execPath} ${CLI} --state-dir ${stack.stateDir} forward shell -:22`;
    const options = ['-F', 'none', '-i', join(dir, 'user'), '-o', 'BatchMode=yes', '-o', 'StrictHostKeyChecking=no'];
    options.push('-o', `UserKnownHostsFile=${dir}/known`, '-o', `ProxyCommand=${proxy}`);
    const user = execFileSync('id', ['-un']).toString().trim();
    const said = await until('ssh', async () => {
      const answer = await client('ssh', [...options, `${user}@shell`, 'echo past the public port']);
      return answer.code === 0 ? answer.stdout : undefined;
    });
    expect(said.trim()).toBe('past the public port');
    const bytes = randomBytes(4 << 20);
    await writeFile(join(dir, 'sent'), bytes);
    const copied = await client('scp', [...options, join(dir, 'sent'), `${user}@shell:${dir}/received`]);
    expect(copied.stderr).not.toMatch(/error/i);
    expect(digestOf(await readFile(join(dir, 'received')))).toBe(digestOf(bytes));
  });
});

describe('culvert socks', () => {
  let port: number;
  beforeAll(async () => {
    const socks = new RunningAccess(['--state-dir', stack.stateDir, 'socks', '--listen', '127.0.0.1:0']);
    running.push(socks);
    [port] = (await socks.ports()) as [number];
  });
  const curl = (url: string) => client('curl', ['-sS', '--max-time', '20', '--socks5-hostname', `127.0.0.1:${port}`, url]);

  it('does not listen before it knows that its token suffices', async () => {
    const started = async (CULVERT_ADMIN_TOKEN: string, server = stack.info.edge): Promise<RunningAccess> => {
      const one = new RunningAccess(['socks', '--listen', '127.0.0.1:0', '--server', server], { CULVERT_ADMIN_TOKEN });
      running.push(one);
      await one.exited;
      expect(one.lines).toEqual([]);
      return one;
    };
    const viewer = (await stack.admin('POST', '/v1/operators', { name: 'watcher', role: 'viewer' })).body as { token: string };
    for (const [token_, said] of [
      ['not-the-token', 'unauthorized'],
      [token, 'unauthorized'],
      [viewer.token, 'forbidden'],
    ] as const) {
      const refused = await started(token_);
      expect([await refused.exited, refused.stderr]).toEqual([1, expect.stringContaining(said)]);
    }
    expect(await (await started('x'.repeat(20), 'http://127.0.0.1:1')).exited).toBe(4);
  });

  it('reaches any device by its name, as curl does', async () => {
    expect((await curl('http://alice.culvert/')).stdout).toContain('<h1>hello from alice.culvert');
  });

  it.each([
    ['http://example.com/', /not allowed|\(2\)/i],
    ['http://127.0.0.1/', /not allowed|\(2\)/i],
    ['http://alice.culvert.example.com/', /not allowed|\(2\)/i],
    ['http://alice.culvert:2222/', /not allowed|\(2\)/i],
    ['http://nobody.culvert/', /unreachable|\(4\)/i],
    ['http://alice.culvert:9/', /refused|\(5\)/i],
  ])('refuses %s with the code for it', async (url, expected) => {
    const answer = await curl(url);
    expect(answer.code).toBe(97);
    expect(answer.stderr).toMatch(expected);
  });
});

describe('rights', () => {
  it('to ports that are not declared need both the policy and the agent', async () => {
    const target = `127.0.0.1:${targets[1]?.port}`;
    const host = await stack.runAgent({
      name: 'hidden',
      token: await stack.addDevice('hidden'),
      mappings: [`tcp:7=${target}`],
      args: ['--allow-forward', `5900=${target}`],
    });
    endings.push(() => host.kill());
    expect((await stack.culvert('forward', 'hidden', '0:5900')).stderr).toContain('does not offer port 5900');
    expect((await stack.admin('PUT', '/v1/devices/hidden/policy', { forward: [5900, 5901] })).status).toBe(200);
    const both = forward('hidden', '0:5900', '0:5901');
    const [allowed, refused] = await both.ports(2);
    expect((await tcpVisitor(allowed as number, 'for operators alone')).data.toString()).toBe('for operators alone');
    expect((await tcpVisitor(refused as number, 'x', { end: false })).error).toBe('ECONNRESET');
    await until('the line about it', () => both.lines.find(({ code }) => code === 'not_allowed'));
  });

  it('cuts the operator off when the device is revoked', async () => {
    const bob = await stack.runAgent({
      name: 'bob',
      token: await stack.addDevice('bob'),
      mappings: [`tcp:8=127.0.0.1:${targets[1]?.port}`],
    });
    endings.push(() => bob.kill());
    const one = forward('bob', '0:8');
    const [port] = await one.ports();
    const socket = net.connect(port as number, '127.0.0.1');
    const closed = new Promise<string>((resolve) => {
      socket
        .once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'))
        .once('close', () => resolve('closed'));
    });
    socket.write('before');
    await new Promise((resolve) => socket.once('data', resolve));
    await stack.culvert('device', 'revoke', 'bob');
    expect(await closed).toBe('ECONNRESET');
    await until('the line about it', () => one.lines.find(({ outcome }) => outcome === 'revoked'));
  });

  it('cuts the connections of an operator who is removed, and lets viewers have none', async () => {
    const add = async (name: string, role: string): Promise<string> =>
      ((await stack.admin('POST', '/v1/operators', { name, role })).body as { token: string }).token;
    const started = (secret: string): RunningAccess => {
      const one = new RunningAccess(['forward', 'alice', '0:8', '--server', stack.info.edge], { CULVERT_ADMIN_TOKEN: secret });
      running.push(one);
      return one;
    };
    const viewer = started(await add('looker', 'viewer'));
    expect(await viewer.exited).toBe(1);
    expect(viewer.stderr).toContain('forbidden');
    const theirs = started(await add('dave', 'operator'));
    const [port] = await theirs.ports();
    const socket = net.connect(port as number, '127.0.0.1');
    const closed = new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
    socket.write('before');
    await new Promise((resolve) => socket.once('data', resolve));
    await stack.admin('DELETE', '/v1/operators/dave');
    await closed;
    await until('the line about it', () => theirs.lines.find(({ outcome }) => outcome === 'revoked'));
    expect((await tcpVisitor(port as number, 'again', { end: false })).error).toBe('ECONNRESET');
    const { body } = await stack.admin('GET', '/v1/audit?action=device.access&operator=dave');
    const { entries } = body as { entries: Record<string, unknown>[] };
    expect(entries.length).toBeGreaterThan(0);
    expect(entries.at(-1)).toMatchObject({ operator: 'dave', object: 'alice', outcome: 'ok', detail: { port: 8 } });
  });

  it('opens nothing of the API but the tickets at the edge', async () => {
    const { adminToken, edge } = stack.info;
    const headers = { authorization: `Bearer ${adminToken}`, 'content-type': 'application/json' };
    for (const path of ['/v1/devices', '/v1/access/../devices', '/v1/access/%2e%2e/devices', '/v1/access/']) {
      const answer = await fetch(`${edge}${path}`, { headers });
      expect(answer.status, path).toBeGreaterThanOrEqual(400);
      expect(await answer.text(), path).not.toContain('alice');
    }
    const query = await fetch(`${edge}/v1/access?x=1/../devices`, { headers });
    expect(await query.json()).toEqual({ name: 'root', role: 'admin' });
    const refused = await fetch(`${edge}/v1/access`, {
      method: 'POST',
      headers: { ...headers, authorization: 'Bearer x' },
      body: '{}',
    });
    expect(refused.status).toBe(401);
  });
});
