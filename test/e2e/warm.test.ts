import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { digestAfterEnd, echo, greetFirst, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { curl, tcpVisitor, until } from './support.ts';

const WARM = 4;
const DIAL_MS = 4_000;
const DIGEST = 7;
const ECHO = 8;
const GREETER = 9;

let stack: Stack;
let targets: Target[];
let agent: RunningAgent;
let token: string;

beforeAll(async () => {
  stack = await startStack({
    env: {
      CULVERT_HEARTBEAT: '2s',
      CULVERT_REPLICAS: 'ws-ingress=2',
      CULVERT_LIMIT_DIAL_MS: String(DIAL_MS),
      CULVERT_LIMIT_WARM_ACCEPT_MS: '1000',
      CULVERT_LIMIT_LOCAL_CONNECT_MS: '1000',
    },
  });
  targets = [
    await startTcpTarget(digestAfterEnd),
    await startTcpTarget(echo),
    await startTcpTarget(greetFirst),
    await startWebTarget(),
  ];
  token = await stack.addDevice('warmed');
  agent = await connect();
});
afterEach(async () => {
  await until('the services are back', () => (stack.readInfo()?.services.length === 6 ? true : undefined));
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
});

function connect(): Promise<RunningAgent> {
  const [digest, echoes, greeter, web] = targets.map(({ port }) => `127.0.0.1:${port}`);
  const mappings = [`tcp:${DIGEST}=${digest}`, `tcp:${ECHO}=${echoes}`, `tcp:${GREETER}=${greeter}`, `80=${web}`];
  return stack.runAgent({ name: 'warmed', token, mappings });
}

/** The sum of a metric of the listener over its labels. */
async function metric(name: string, label = ''): Promise<number> {
  const { health } = (stack.readInfo() ?? stack.info).services.find((one) => one.name === 'tcp-listener') as { health: string };
  const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
  const lines = text.split('\n').filter((line) => line.startsWith(`${name}{`) && line.includes(label));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}
const accepted = (): Promise<number> => metric('culvert_warm_offers_total', 'outcome="accepted"');
const waiting = (): Promise<number> => metric('culvert_warm_transfers_waiting');
const portOf = (port: number): number => agent.endpoint(port).public_port as number;

async function warmedUp(): Promise<void> {
  await until(
    'warm transfers wait',
    async () => {
      if ((await waiting()) >= WARM) return true;
      await tcpVisitor(portOf(ECHO), 'x');
      return undefined;
    },
    30_000,
  );
}

/** A visitor whose answer is the digest of what it sent: not one byte may be another's, missing or doubled. */
async function checked(bytes: number): Promise<void> {
  const sent = randomBytes(bytes);
  const got = await tcpVisitor(portOf(DIGEST), sent);
  expect(got).toMatchObject({ ended: true, error: undefined });
  expect(got.data.toString()).toBe(`${bytes} ${createHash('sha256').update(sent).digest('hex')}\n`);
}

describe('warm transfers', () => {
  it('are kept after the first visitor, and serve hundreds of them without a dial, each with its own bytes', async () => {
    await warmedUp();
    const before = { accepted: await accepted(), handshakes: await metric('culvert_transfer_handshakes_total') };
    const lane = async (count: number): Promise<void> => {
      for (let at = 0; at < count; at += 1) await checked(1 + Math.floor(Math.random() * (at % 10 === 0 ? 500_000 : 3_000)));
    };
    await Promise.all([lane(100), lane(100), lane(100)]);
    expect((await accepted()) - before.accepted).toBeGreaterThan(250);
    expect((await metric('culvert_transfer_handshakes_total')) - before.handshakes).toBeLessThan(50);
  });

  it('carry servers that speak first, half-closed visitors and HTTP', async () => {
    await warmedUp();
    const before = await accepted();
    expect((await tcpVisitor(portOf(GREETER), 'hi')).data.toString()).toBe('220 welcome\r\nhi');
    await checked(100_000);
    const host = new URL(agent.endpoint(80).url as string).hostname;
    expect((await curl(stack.info.edge, host, '/')).stdout).toContain('hello from');
    expect(await accepted()).toBe(before + 3);
  });

  it('serve new visitors while NATS is down', async () => {
    await warmedUp();
    process.kill(stack.info.natsServer.pid, 'SIGSTOP');
    try {
      for (let count = 0; count < 20; count += 1) await checked(2_000);
    } finally {
      process.kill(stack.info.natsServer.pid, 'SIGKILL');
    }
    for (let count = 0; count < 20; count += 1) await checked(2_000);
  });

  it("serve new visitors while the device's ingress is down, and go on when the device is back elsewhere", async () => {
    await warmedUp();
    const handshakes = await metric('culvert_transfer_handshakes_total');
    const readies = agent.readyCount();
    for (const { pid } of stack.info.services.filter(({ name }) => name === 'ws-ingress')) process.kill(pid, 'SIGKILL');
    for (let count = 0; count < 20; count += 1) await checked(2_000);
    await until('the device is back', () => (agent.readyCount() > readies ? true : undefined), 30_000);
    for (let count = 0; count < 20; count += 1) await checked(2_000);
    expect(await metric('culvert_transfer_handshakes_total')).toBeLessThanOrEqual(handshakes + WARM); // no new set
  });

  it('are kept when the device moves because its ingress winds down', async () => {
    await warmedUp();
    const handshakes = await metric('culvert_transfer_handshakes_total');
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
    for (let count = 0; count < 10; count += 1) await checked(2_000);
    expect(await metric('culvert_transfer_handshakes_total')).toBeLessThanOrEqual(handshakes + WARM); // no new set
  });

  it('of a frozen device eat no visitor: each ends by its deadline, and the device serves when it goes on', async () => {
    await warmedUp();
    agent.pause();
    try {
      const got = await Promise.all(
        Array.from({ length: 6 }, () => tcpVisitor(portOf(ECHO), 'hello', { deadlineMs: DIAL_MS + 10_000 })),
      );
      for (const { data, error } of got) {
        expect(data.length).toBe(0);
        expect(error).toBe('ECONNRESET');
      }
    } finally {
      agent.resume();
    }
    await until(
      'it serves',
      async () => ((await tcpVisitor(portOf(ECHO), 'on')).data.toString() === 'on' ? true : undefined),
      30_000,
    );
  });

  it('are closed at once when the agent stops, and the rest in order', async () => {
    await warmedUp();
    const before = performance.now();
    expect(await agent.stop()).toBe(0);
    expect(performance.now() - before).toBeLessThan(8_000); // less than the time that running transfers are given
    await until('none waits', async () => ((await waiting()) === 0 ? true : undefined));
    agent = await connect();
    await warmedUp();
  });
});
