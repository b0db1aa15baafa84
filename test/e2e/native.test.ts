import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BUILD_MS, builtAgent } from '../../agent/native/test/build.ts';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { digestAfterEnd, echo, greetFirst, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

const DIGEST = 7;
const ECHO = 8;
const GREETER = 9;
const FROZEN = 10;

const kept = mkdtempSync(join(tmpdir(), 'culvert-native-e2e-'));
let program: string;
let stack: Stack;
let targets: Target[];
let agent: RunningAgent;
let token: string;

beforeAll(async () => {
  await installSystemPackages(['native']);
  program = await builtAgent();
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
}, BUILD_MS + 90_000);
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
  rmSync(kept, { recursive: true, force: true });
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
  return stack.runAgent({ name: 'native', token, mappings, program: [program] });
}

const portOf = (port: number): number => agent.endpoint(port).public_port as number;

/** The answer is the digest of what was sent: not one byte may be another's, missing or doubled. */
async function checked(bytes: number, port = portOf(DIGEST)): Promise<void> {
  const sent = randomBytes(bytes);
  const got = await tcpVisitor(port, sent, { deadlineMs: 40_000 });
  expect(got).toMatchObject({ ended: true, error: undefined });
  expect(got.data.toString()).toBe(`${bytes} ${createHash('sha256').update(sent).digest('hex')}\n`);
}

/** Inline transfers that have ended well, over all ingresses. */
async function inlineServed(): Promise<number> {
  let sum = 0;
  for (const { health } of stack.info.services.filter(({ name }) => name === 'ws-ingress')) {
    const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
    sum += Number(/^culvert_inline_transfers_total\{.*outcome="ok".*\} (\d+)$/m.exec(text)?.[1] ?? 0);
  }
  return sum;
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

  it('enrols by a key, and serves visitors on its one connection', async () => {
    const key = /cve_\S+/.exec((await stack.culvert('enroll-key', 'add')).stdout)?.[0] ?? '';
    writeFileSync(join(kept, 'key'), key);
    const [digest] = targets.map(({ port }) => `127.0.0.1:${port}`);
    const args = ['--enroll-file', join(kept, 'key'), '--token-file', join(kept, 'token'), '--inline', '4'];
    const mappings = [`tcp:${DIGEST}=${digest}`];
    const one = await stack.runAgent({ name: 'enrolled', token: '', mappings, program: [program], args });
    expect(statSync(join(kept, 'token')).mode & 0o777).toBe(0o600);
    const port = one.endpoint(DIGEST).public_port as number;
    await Promise.all([300_000, 2_000, 1].map((bytes) => checked(bytes, port)));
    await until('three inline transfers that ended well', async () => ((await inlineServed()) >= 3 ? true : undefined));
    expect(await one.stop()).toBe(0);
  });

  it('refuses to share its name, and takes it over from one that is dead', async () => {
    const second = stack.spawnAgent({ name: 'native', token, mappings: ['9'], program: [program] });
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
