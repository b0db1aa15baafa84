import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { until } from '../e2e/support.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { startWebTarget, type Target } from '../harness/targets.ts';

const run = promisify(execFile);
const ROOT = join(import.meta.dirname, '../..');
/** Built once, from the Go module proxy. */
const BIN = join(ROOT, 'node_modules/.cache/go-bin');
const MODULE = 'github.com/nats-io/natscli/nats@v0.1.5';
const BUILD_MS = 20 * 60_000;
/** The examples of docs/EVENTS.md, as they stand there. */
const EXAMPLES = (/\n## `nats`\n+```sh\n([\s\S]*?)```/.exec(readFileSync(join(ROOT, 'docs/EVENTS.md'), 'utf8'))?.[1] ?? '')
  .split('\n')
  .filter((line) => line.startsWith('nats '));

let path: string | undefined;
let stack: Stack;
let web: Target;
let agent: RunningAgent;

/** The folder of the program; undefined where it can be had in no way. */
async function natsFolder(): Promise<string | undefined> {
  const there = findProgram('nats');
  if (there !== undefined) return join(there, '..');
  if (existsSync(join(BIN, 'nats'))) return BIN;
  const go = findProgram('go') ?? (existsSync('/usr/local/go/bin/go') ? '/usr/local/go/bin/go' : undefined);
  if (go === undefined) return undefined;
  await run(go, ['install', MODULE], { env: { ...process.env, GOBIN: BIN, GOTOOLCHAIN: 'local' }, timeout: BUILD_MS });
  return BIN;
}

beforeAll(async () => {
  path = await natsFolder();
  if (path === undefined) return console.log('NOT RUN: the examples with the nats command, as there is neither nats nor go here');
  stack = await startStack();
  web = await startWebTarget();
  agent = await stack.runAgent({ name: 'alice', token: await stack.addDevice('alice'), mappings: [`80=127.0.0.1:${web.port}`] });
}, BUILD_MS + 120_000);
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
});

const shell = (line: string): [string, string[], object] => [
  'bash',
  ['-c', line],
  { env: { PATH: `${path}:${process.env.PATH}`, HOME: stack.stateDir, NATS_URL: stack.info.nats }, timeout: 60_000 },
];
const example = (part: string): string => EXAMPLES.find((line) => line.includes(part)) ?? `no example with ${part}`;

it('the examples with the nats command do what they say, by the user who may read only', async (context) => {
  if (path === undefined) return context.skip();
  expect(EXAMPLES).toHaveLength(5);
  expect((await run(...shell(`${example('kv get')} --raw`))).stdout).toContain('"state":"held"');
  // It pages, and wants a terminal for it.
  const viewed = await run(...shell(`script -qec '${example('stream view').replaceAll("'", `'\\''`)}' /dev/null < /dev/null`));
  expect(viewed.stdout).toContain('device.connected');
  const [program, args, options] = shell(`exec ${example(' sub ')}`);
  const sub: ChildProcess = spawn(program, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
  let heard = '';
  sub.stdout?.on('data', (chunk: Buffer) => {
    heard += chunk.toString();
  });
  try {
    await until(
      'an event',
      async () => {
        await stack.admin('POST', '/v1/devices/alice/disconnect');
        await new Promise((done) => setTimeout(done, 1_000));
        return heard.includes('device.connected') ? true : undefined;
      },
      60_000,
    );
  } finally {
    sub.kill('SIGKILL');
  }
  await run(...shell(example('consumer add')));
  await stack.admin('DELETE', '/v1/devices/alice');
  const next = await until(
    'the expiry',
    async () => {
      const { stdout } = await run(...shell(example('consumer next').replace('--count 10', '--count 1'))).catch(() => ({
        stdout: '',
      }));
      return stdout.includes('lease.expired') ? stdout : undefined;
    },
    60_000,
  );
  expect(next).toContain('lease.expired.alice');
}, 240_000);
