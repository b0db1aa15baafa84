import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../e2e/support.ts';
import { runCli } from '../harness/agent.ts';
import { freePort } from '../harness/servers.ts';
import { type Stack, startStack } from '../harness/system.ts';

const ROOT = join(import.meta.dirname, '../..');
const CLI = join(ROOT, 'agent/cli/bin/culvert.mjs');
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8');
const section = readme.slice(readme.indexOf('## Your first device'), readme.indexOf('## The picture'));
const block = /```sh\n([\s\S]*?)```/.exec(section)?.[1] ?? '';
const dir = mkdtempSync(join(tmpdir(), 'culvert-readme-'));
/** Those that go on until they are stopped, or whose exit code is a judgement; they have tests of their own. */
const ELSEWHERE = new Set(['forward', 'socks', 'events', 'trace', 'doctor']);
let stack: Stack;
let shell: ChildProcess | undefined;

beforeAll(async () => {
  stack = await startStack();
}, 120_000);
afterAll(async () => {
  if (shell?.pid !== undefined) process.kill(-shell.pid, 'SIGTERM');
  await stack?.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

describe('the first device of the README', () => {
  it('is there after its commands, typed as they stand', async () => {
    const [add, ...others] = block.split('\n');
    expect(add).toMatch(/^npx culvert device add my-device --json/);
    const { stdout } = await stack.culvert('device', 'add', 'my-device', '--json');
    const { token } = JSON.parse(stdout) as { token: string };
    // npx, as it is in the repository's folder, for the stack of this test.
    writeFileSync(
      join(dir, 'npx'),
      `#!/bin/sh\nshift\nexec '${process.execPath}' '${CLI}' --state-dir '${stack.stateDir}' "$@"\n`,
      {
        mode: 0o755,
      },
    );
    const script = others
      .join('\n')
      .replace('cvd_…', token)
      .replaceAll('3000', String(await freePort()))
      .replace('http://localhost:8080', stack.info.edge);
    expect(script).not.toContain('…');
    let output = '';
    const env = { PATH: `${dir}:${process.env.PATH}`, HOME: dir };
    shell = spawn('bash', ['-e', '-c', script], { cwd: dir, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [shell.stdout, shell.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
    }
    const url = await until(
      'the agent prints the address of the page',
      () => {
        if (shell?.exitCode !== null) throw new Error(`the commands ended:\n${output}`);
        return /http:\/\/[a-z0-9-]+\.culvert\.localhost[^\s]*/.exec(output)?.[0];
      },
      60_000,
    );
    // The server of the page may begin to listen later than the agent is ready.
    const page = await until(
      'the page is served',
      async () => {
        const answer = await stack.fetchHost(new URL(url).host);
        return answer.status === 200 ? answer.body : undefined;
      },
      60_000,
    );
    expect(page).toBe('<h1>hello</h1>\n');
  }, 150_000);

  it('is made private, shared, shown and revoked by the other commands', async () => {
    const typed = [...section.matchAll(/`npx culvert ([^`]+)`/g)].map(([, command]) => (command ?? '').split(' '));
    const ends = typed.filter(([verb]) => !ELSEWHERE.has(verb ?? ''));
    expect(ends).toEqual([
      ['device', 'access', 'my-device', 'private'],
      ['share', 'my-device', '--for', '1h'],
      ['device', 'list'],
    ]);
    expect(section).toContain('`show my-device` and `revoke my-device`');
    for (const command of [...ends, ['device', 'show', 'my-device'], ['device', 'revoke', 'my-device']]) {
      const { code, stderr } = await runCli(['--state-dir', stack.stateDir, ...command]);
      expect({ command, code, stderr }).toMatchObject({ code: 0 });
    }
  }, 150_000);
});
