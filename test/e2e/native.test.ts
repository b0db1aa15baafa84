import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { NATIVE, run, scratchFolder } from '../../agent/native/test/build.ts';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { digestAfterEnd, echo, greetFirst, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

const DIGEST = 7;
const ECHO = 8;
const GREETER = 9;
const FROZEN = 10;

const { dir, remove } = scratchFolder();
let stack: Stack;
let targets: Target[];
let agent: RunningAgent;
let token: string;

beforeAll(async () => {
  await installSystemPackages(['native']);
  run('cmake', ['-S', NATIVE, '-B', dir, '-DCMAKE_BUILD_TYPE=Release']);
  run('cmake', ['--build', dir, '-j2']);
  stack = await startStack({ tls: true, env: { CULVERT_HEARTBEAT: '2s', CULVERT_REPLICAS: 'ws-ingress=2' } });
  targets = [
    await startTcpTarget(digestAfterEnd),
    await startTcpTarget(echo),
    await startTcpTarget(greetFirst),
    await startTcpTarget((socket) => socket.pause()),
    await startWebTarget(),
  ];
  token = await stack.addDevice('native');
  agent = await connect();
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
  remove();
});

function connect(): Promise<RunningAgent> {
  const [digest, echoes, greeter, frozen, web] = targets.map(({ port }) => `127.0.0.1:${port}`);
  const mappings = [
    `tcp:${DIGEST}=${digest}`,
    `tcp:${ECHO}=${echoes}`,
    `tcp:${GREETER}=${greeter}`,
    `tcp:${FROZEN}=${frozen}`,
    `80=${web}`,
  ];
  return stack.runAgent({ name: 'native', token, mappings, program: [`${dir}/culvert-agent`] });
}

const portOf = (port: number): number => agent.endpoint(port).public_port as number;

/** The answer is the digest of what was sent: not one byte may be another's, missing or doubled. */
async function checked(bytes: number): Promise<void> {
  const sent = randomBytes(bytes);
  const got = await tcpVisitor(portOf(DIGEST), sent, { deadlineMs: 40_000 });
  expect(got).toMatchObject({ ended: true, error: undefined });
  expect(got.data.toString()).toBe(`${bytes} ${createHash('sha256').update(sent).digest('hex')}\n`);
}

describe('the agent in C, over TLS', () => {
  it('has its page opened by its name, and serves protocols in which the server speaks first', async () => {
    const host = new URL(agent.endpoint(80).url as string).hostname;
    const page = await stack.fetchHost(host);
    expect(page.status).toBe(200);
    expect(page.body).toContain('hello from');
    expect((await tcpVisitor(portOf(GREETER), 'hi')).data.toString()).toBe('220 welcome\r\nhi');
  });

  it('carries 64 visitors at once, each with its own bytes, and hundreds one after the other', async () => {
    await Promise.all(Array.from({ length: 64 }, (_, at) => checked(1 + at * 4_000)));
    for (let at = 0; at < 100; at += 1) await checked(1 + at * 100);
  });

  it('lets a target that takes nothing slow its own visitor only', async () => {
    const stuck = tcpVisitor(portOf(FROZEN), randomBytes(4_000_000), { deadlineMs: 6_000 });
    for (let at = 0; at < 20; at += 1) await checked(10_000);
    expect((await stuck).error).toBe('deadline');
  });

  it('keeps its visitors when its ingress winds down, and its name when that is killed', async () => {
    const url = agent.endpoint(80).url;
    const visitor = tcpVisitor(portOf(GREETER), 'slow', { end: false, deadlineMs: 12_000 });
    const readies = agent.readyCount();
    for (const { pid } of stack.info.services.filter(({ name }) => name === 'ws-ingress')) {
      if (agent.readyCount() > readies) break;
      process.kill(pid, 'SIGTERM');
      await until(
        'the ingress is another',
        () => (stack.readInfo()?.services.some((one) => one.pid === pid) ? undefined : true),
        30_000,
      );
    }
    await until('the device moved', () => (agent.readyCount() > readies ? true : undefined), 30_000);
    await checked(1_000);
    const moved = agent.readyCount();
    for (const { pid } of stack.info.services.filter(({ name }) => name === 'ws-ingress')) process.kill(pid, 'SIGKILL');
    await until('the device is back', () => (agent.readyCount() > moved ? true : undefined), 30_000);
    expect(agent.ready.resumed).toBe(true);
    expect(agent.endpoint(80).url).toBe(url);
    expect((await visitor).data.toString()).toBe('220 welcome\r\nslow'); // it was on a transfer all the while
    await checked(1_000);
  });

  it('refuses to share its name, and takes it over from one that is dead', async () => {
    const second = stack.spawnAgent({ name: 'native', token, mappings: ['9'], program: [`${dir}/culvert-agent`] });
    expect(await second.event('refused', 20_000)).toMatchObject({ code: 'name_in_use', status: 409 });
    await second.kill();
    const url = agent.endpoint(80).url;
    agent.pause();
    const successor = await connect();
    expect(successor.endpoint(80).url).toBe(url);
    await agent.kill();
    agent = successor;
    await checked(1_000);
    expect(await agent.stop()).toBe(0);
    const host = new URL(url as string).hostname;
    await until('the offline page', async () => ((await stack.fetchHost(host)).status === 503 ? true : undefined), 10_000);
  });
});
