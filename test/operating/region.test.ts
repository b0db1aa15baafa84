import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { tcpVisitor, until } from '../e2e/support.ts';
import { freePort } from '../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { commandsOf, runBlock } from './manual.ts';

/** The other region has the secrets, a Redis that follows, and nothing else: no NATS of the former one, and no process. */
const dir = mkdtempSync(join(tmpdir(), 'culvert-region-'));
const STATE = join(dir, 'state');
const REPLICA = join(dir, 'replica');
let stack: Stack;
let targets: Target[] = [];
let replica: ChildProcess;
let replicaUrl: string;

beforeAll(async () => {
  mkdirSync(STATE);
  mkdirSync(REPLICA);
  targets = [await startWebTarget(), await startTcpTarget(echo)];
  stack = await startStack({ stateDir: STATE });
  const primary = new URL(stack.info.redis.address);
  const port = await freePort();
  replicaUrl = `redis://127.0.0.1:${port}`;
  const settings = {
    ...{ port, dir: REPLICA, bind: '127.0.0.1', appendonly: 'yes', replicaof: `${primary.hostname} ${primary.port}` },
    ...{ masteruser: decodeURIComponent(primary.username), masterauth: decodeURIComponent(primary.password) },
  };
  const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...String(value).split(' ')]);
  replica = spawn(findProgram('redis-server') ?? 'redis-server', args, { stdio: 'ignore' });
}, 180_000);
afterAll(async () => {
  replica?.kill('SIGKILL');
  await stack?.stop();
  for (const target of targets) await target.close();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}, 60_000);

it('devices come back under their names and ports when another region takes over', async () => {
  const mappings = [`80=127.0.0.1:${targets[0]?.port}`, `tcp:7=127.0.0.1:${targets[1]?.port}`];
  const agent: RunningAgent = await stack.runAgent({ name: 'far', token: await stack.addDevice('far'), mappings });
  const { hostname } = new URL(agent.endpoint(80).url as string);
  const port = agent.endpoint(7).public_port as number;
  const { epoch } = agent.ready;

  const follower = new Redis(replicaUrl);
  await until('the replica has the lease', async () => ((await follower.exists('lease:far')) === 1 ? true : undefined), 60_000);
  follower.disconnect();
  // The replica is cut off first: it knows nothing of how the region ended, as when that is gone at once.
  await runBlock(commandsOf('docs/OPERATING.md').get('region'), { REPLICA_URL: replicaUrl });
  await stack.restart(async () => {
    for (const name of readdirSync(STATE)) {
      if (name !== 'memory.json') rmSync(join(STATE, name), { recursive: true });
    }
    const ended = new Promise((done) => replica.once('exit', done));
    replica.kill('SIGTERM');
    await ended;
    mkdirSync(join(STATE, 'redis'));
    cpSync(join(REPLICA, 'appendonlydir'), join(STATE, 'redis/appendonlydir'), { recursive: true });
  });

  await until(
    'the page',
    async () => ((await stack.fetchHost(hostname).catch(() => ({ status: 0 }))).status === 200 ? true : undefined),
    120_000,
  );
  expect((await tcpVisitor(port, 'hello')).data.toString()).toBe('hello');
  const { body } = await stack.admin('GET', '/v1/devices/far');
  const device = body as { state: string; epoch: number; endpoints: { port: number; public_port?: number; host: string }[] };
  expect(device.state).toBe('connected');
  expect(device.epoch).toBeGreaterThan(epoch);
  expect(device.endpoints).toMatchObject([
    { port: 80, host: hostname },
    { port: 7, public_port: port },
  ]);
  await agent.stop();
}, 300_000);
