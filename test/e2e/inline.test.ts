import { createHash, randomBytes } from 'node:crypto';
import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import {
  digestAfterEnd,
  echo,
  greetFirst,
  patternDigest,
  startTcpTarget,
  startWebTarget,
  type Target,
} from '../harness/targets.ts';
import { curl, tcpVisitor, until } from './support.ts';

const INLINE = 4;
const [DIGEST, ECHO, GREETER, FLOOD, BREAKER] = [7, 8, 9, 10, 11] as const;
const BULK = 24 << 20;

let stack: Stack;
let agent: RunningAgent;
let targets: Target[];

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_HEARTBEAT: '2s', CULVERT_REPLICAS: 'ws-ingress=2' } });
  targets = [
    await startTcpTarget(digestAfterEnd),
    await startTcpTarget(echo),
    await startTcpTarget(greetFirst),
    await startTcpTarget(flood),
    await startTcpTarget((socket) => void socket.once('data', () => socket.resetAndDestroy())),
    await startWebTarget(),
  ];
  const [digest, echoes, greeter, flooder, breaker, web] = targets.map(({ port }) => `127.0.0.1:${port}`);
  agent = await stack.runAgent({
    name: 'inline',
    token: await stack.addDevice('inline'),
    mappings: [
      ...[`tcp:${DIGEST}=${digest}`, `tcp:${ECHO}=${echoes}`, `tcp:${GREETER}=${greeter}`, `tcp:${FLOOD}=${flooder}`],
      ...[`tcp:${BREAKER}=${breaker}`, `80=${web}`],
    ],
    args: ['--inline', String(INLINE)],
  });
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
});

/** Sends without end until the other side breaks off. */
function flood(socket: net.Socket): void {
  const block = randomBytes(65_536);
  const pump = (): void => {
    while (!socket.destroyed && socket.write(block));
  };
  socket.on('drain', pump).resume();
  pump();
}

const portOf = (port: number): number => agent.endpoint(port).public_port as number;

/** The sum of a metric over the instances and labels of a service. */
async function metric(service: string, name: string, label = ''): Promise<number> {
  let sum = 0;
  for (const { health } of stack.info.services.filter((one) => one.name === service)) {
    const text = await fetch(health.replace('/healthz', '/metrics')).then(
      (response) => response.text(),
      () => '',
    );
    const lines = text
      .split('\n')
      .filter((line) => [' ', '{'].some((mark) => line.startsWith(name + mark)) && line.includes(label));
    for (const line of lines) sum += Number(line.slice(line.lastIndexOf(' ') + 1));
  }
  return sum;
}

async function page(): Promise<void> {
  const { host } = new URL(String(agent.endpoint(80).url));
  const got = await curl(stack.info.edge, host.split(':')[0] as string, '/');
  expect(got.stdout).toContain('hello from');
}

async function checked(bytes: number): Promise<void> {
  const sent = randomBytes(bytes);
  const got = await tcpVisitor(portOf(DIGEST), sent, { deadlineMs: 60_000 });
  expect(got).toMatchObject({ ended: true, error: undefined });
  expect(got.data.toString()).toBe(`${bytes} ${createHash('sha256').update(sent).digest('hex')}\n`);
}

describe('a device with inline transfers', () => {
  it('serves a page by its name and large bodies on its one connection', async () => {
    await page();
    const { host } = new URL(String(agent.endpoint(80).url));
    const got = await curl(stack.info.edge, host.split(':')[0] as string, `/bytes/${BULK}`);
    expect(createHash('sha256').update(got.stdout, 'latin1').digest('hex')).toBe(patternDigest(BULK));
    expect(await metric('ws-ingress', 'culvert_inline_transfers_total', 'outcome="ok"')).toBeGreaterThanOrEqual(1);
  });

  it('keeps half-closes, greets first, and queues the visitors beyond its number', async () => {
    expect((await tcpVisitor(portOf(GREETER), 'hello')).data.toString()).toBe('220 welcome\r\nhello');
    await checked(1_000_000);
    await Promise.all(Array.from({ length: 4 * INLINE }, (_, index) => checked(10_000 + index * 1_000)));
    await until('all channels are free again', async () =>
      (await metric('ws-ingress', 'culvert_inline_transfers')) === 0 ? true : undefined,
    );
  });

  it('answers small visitors and heartbeats beside bulk, stalled or not', async () => {
    const bulk = net.connect(portOf(FLOOD), '127.0.0.1');
    const stalled = net.connect(portOf(FLOOD), '127.0.0.1').pause();
    let bytes = 0;
    bulk.on('data', (chunk) => {
      bytes += chunk.length;
    });
    await until('bulk flows', () => (bytes > 4 << 20 ? true : undefined));
    const before = agent.readyCount();
    for (let count = 0; count < 20; count++)
      expect((await tcpVisitor(portOf(ECHO), `small ${count}`)).data.toString()).toBe(`small ${count}`);
    const seen = bytes;
    await until('bulk flows on', () => (bytes > seen + (4 << 20) ? true : undefined));
    const since = Date.now();
    await until('more than 2.5 heartbeats have passed', () => (Date.now() - since > 6_000 ? true : undefined));
    expect(agent.readyCount()).toBe(before);
    bulk.destroy();
    stalled.destroy();
    await checked(100_000);
  });

  it('passes a reset on, and goes on', async () => {
    const got = await tcpVisitor(portOf(BREAKER), 'x', { end: false });
    expect(got).toMatchObject({ ended: false, error: 'ECONNRESET' });
    await checked(1_000);
  });

  it('comes back after its ingress was killed: what ran is reset, the name stays', async () => {
    const running = tcpVisitor(portOf(ECHO), 'half', { end: false });
    await until('the transfer is open', async () =>
      (await metric('ws-ingress', 'culvert_inline_transfers')) > 0 ? true : undefined,
    );
    const before = agent.readyCount();
    for (const { name, pid } of stack.info.services) if (name === 'ws-ingress') process.kill(pid, 'SIGKILL');
    expect((await running).ended).toBe(false);
    await until('it is ready again', () => (agent.readyCount() > before ? true : undefined), 40_000);
    expect(agent.ready.resumed).toBe(true);
    await page();
    await checked(10_000);
  });
});
