import { type ChildProcess, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { echo, serve, target, until } from '../../sdk/test/kit.ts';
import type { TestServer } from '../../sdk/test/server.ts';
import { runCli, startCli } from './run-cli.ts';

type Line = { event: string } & Record<string, unknown>;

/** The lines that a `--json` agent prints, as they come. */
function linesOf(child: ChildProcess): Line[] {
  const lines: Line[] = [];
  if (child.stdout !== null) createInterface({ input: child.stdout }).on('line', (line) => lines.push(JSON.parse(line) as Line));
  return lines;
}

/** Whether a process is there and is no zombie. */
function alive(pid: number): boolean {
  try {
    return !execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('Z');
  } catch {
    return false;
  }
}

describe('culvert agent', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-agent-'));
  const tokenFile = join(dir, 'token');
  beforeAll(() => writeFileSync(tokenFile, 'device-token\n'));
  afterAll(() => rmSync(dir, { recursive: true }));

  const args = (server: TestServer, ...more: string[]) => [
    'agent',
    ...['--server', server.url, '--name', 'alice', '--token-file', tokenFile],
    ...more,
  ];
  const run = (args: string[], env?: Record<string, string>, node?: string): ChildProcess => {
    const child = startCli(args, env, node);
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    return child;
  };

  it('prints one event a line, serves visitors, and stops by SIGTERM with 0', async () => {
    const server = await serve();
    const port = await target(echo);
    const child = run(args(server, '--json', '80', `tcp:7=127.0.0.1:${port}`));
    const lines = linesOf(child);
    const ready = await until('ready', () => lines.find(({ event }) => event === 'ready'));
    expect(ready).toMatchObject({
      name: 'alice',
      epoch: 101,
      resumed: false,
      endpoints: [
        { port: 80, scheme: 'http', url: 'http://x80.culvert.localhost' },
        { port: 7, scheme: 'tcp', host: 'culvert.localhost', public_port: 20_007 },
      ],
    });
    const peer = await server.transfer(await server.control(0), 7);
    peer.send('hello');
    peer.end();
    await until('the echo', () => peer.ended);
    await until('its event', () => lines.find(({ event, to_visitor }) => event === 'transfer' && to_visitor === 5));
    child.kill('SIGTERM');
    expect(await once(child, 'exit')).toEqual([0, null]);
    expect(lines.at(-1)?.event).toBe('stopped');
    expect(server.controls[0]?.messages).toEqual([expect.objectContaining({ type: 'bye' })]);
  });

  it('speaks to people without --json, and keeps the token out of its command line and output', async () => {
    const server = await serve();
    server.refusals.push({ status: 503, code: 'unavailable', retryAfter: 1 });
    const child = run(args(server, 'tcp:22=192.168.1.7:22'));
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk) => {
        text += chunk;
      });
    }
    await until('the endpoint', () => text.includes('culvert.localhost:20022  ->  192.168.1.7:22'));
    expect(text).toContain('refused: refused as unavailable (unavailable)');
    expect(text).not.toContain('device-token');
    child.kill('SIGINT');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  it('takes the token from CULVERT_TOKEN', async () => {
    const server = await serve();
    run(['agent', '--server', server.url, '--name', 'alice', '80'], { CULVERT_TOKEN: 'device-token' });
    await server.control(0);
  });

  it('is refused with two tokens, as nobody can know which was meant', async () => {
    const two = ['agent', '--server', 'http://127.0.0.1:1', '--name', 'alice', '--token-file', tokenFile, '80'];
    const result = await runCli(two, { CULVERT_TOKEN: 'device-token' });
    expect(result).toMatchObject({ code: 2, stderr: expect.stringContaining('--token-file and CULVERT_TOKEN are both given') });
    const enrolling = [...two.slice(0, 5), '--enroll-file', tokenFile, '--token-file', join(dir, 'none'), '80'];
    const other = await runCli(enrolling, { CULVERT_TOKEN: 'device-token' });
    expect(other).toMatchObject({ code: 2, stderr: expect.stringContaining('enrolment key and CULVERT_TOKEN') });
  });

  it('reports all faults of its options at once and exits with 2', async () => {
    const bad = ['--server', 'ftp://x', '--name', 'Alice', '--token-file', join(dir, 'absent'), '--ca-file', tokenFile];
    const result = await runCli(['agent', ...bad, '--max-transfers', 'many', '--verbose', '80', '99999', 'tcp:80']);
    expect(result.code).toBe(2);
    for (const part of [
      'ftp://x',
      'Alice',
      'absent',
      'no certificate',
      '--max-transfers',
      '--verbose',
      '99999',
      'name port 80 twice',
    ]) {
      expect(result.stderr).toContain(part);
    }
    const nothing = await runCli(['agent']);
    expect(nothing.code).toBe(2);
    expect(nothing.stderr.match(/^ {2}- /gm)).toHaveLength(4);
  });

  it('documents its exit codes', async () => {
    expect((await runCli(['agent', '--help'])).stdout).toMatch(/Exit codes: 0 stopped/);
  });

  describe('started by an older Node', () => {
    const old = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => {
      try {
        return Number(/^v(\d+)/.exec(execFileSync(path, ['-v'], { encoding: 'utf8' }))?.[1]) < 22;
      } catch {
        return false;
      }
    });

    it.runIf(old)('runs under the packaged one: signals are forwarded, the exit code is kept', async () => {
      expect((await runCli(['agent'], {}, old)).code).toBe(2);
      const server = await serve();
      const child = run(args(server, '--json', '80'), {}, old);
      const lines = linesOf(child);
      await until('ready', () => lines.find(({ event }) => event === 'ready'));
      child.kill('SIGTERM');
      expect(await once(child, 'exit')).toEqual([0, null]);
      expect(lines.at(-1)?.event).toBe('stopped');
    });

    it.runIf(old)('leaves nothing behind when it is killed', async () => {
      const server = await serve();
      const child = run(args(server, '--json', '80'), {}, old);
      const control = await server.control(0);
      const inner = Number(execFileSync('pgrep', ['-P', String(child.pid)], { encoding: 'utf8' }));
      expect(alive(inner)).toBe(true);
      child.kill('SIGKILL');
      await until('the end of the inner process', () => !alive(inner));
      await until('the end of its connection', () => control.closed);
    });
  });
});
