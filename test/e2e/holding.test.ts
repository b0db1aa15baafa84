import net from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { curl, type Output, tcpVisitor, until } from './support.ts';

const WAITING_MOST = 6;
let stack: Stack;
let web: Target;
let tcp: Target;
let token: string;
let mappings: string[];
let agent: RunningAgent;
let host: string;
let port: number;

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_LIMIT_VISITORS_WAITING_PER_DEVICE: String(WAITING_MOST) } });
  web = await startWebTarget();
  tcp = await startTcpTarget(echo);
  token = await stack.addDevice('held');
  mappings = [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`];
});
beforeEach(async () => {
  agent = await stack.runAgent({ name: 'held', token, mappings });
  host = new URL(agent.endpoint(80).url as string).hostname;
  port = agent.endpoint(7).public_port as number;
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

const page = (): Promise<Output> => curl(stack.info.edge, host, '/', '-w', '\n%{http_code} %{time_total}');
const outcomeOf = ({ stdout }: Output): { status: string; seconds: number } => {
  const [status = '', seconds = ''] = (stdout.split('\n').at(-1) ?? '').split(' ');
  return { status, seconds: Number(seconds) };
};
async function waiting(): Promise<number> {
  const { health } = stack.info.services.find(({ name }) => name === 'tcp-listener') as { health: string };
  const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
  return Number(/^culvert_visitors_waiting(?:\{.*\})? (\d+)$/m.exec(text)?.[1]);
}
const vanish = async (): Promise<void> => agent.kill();

describe('visitors of a device that is just reconnecting', () => {
  it('wait for it, by name and by port, and are served when it is back', async () => {
    await vanish();
    const visits = Promise.all([page(), tcpVisitor(port, 'hello')]);
    await until('both wait', async () => ((await waiting()) === 2 ? true : undefined), 4_000);
    const back = await stack.runAgent({ name: 'held', token, mappings });
    const [got, echoed] = await visits;
    expect(outcomeOf(got).status).toBe('200');
    expect(echoed.data.toString()).toBe('hello');
    await back.stop();
  });

  it('wait no longer than RECONNECTING_MS: then the page says that it is offline, and the port resets', async () => {
    await vanish();
    const startedAt = performance.now();
    const [got, echoed] = await Promise.all([page(), tcpVisitor(port, 'hello')]);
    const { status, seconds } = outcomeOf(got);
    expect(status).toBe('503');
    expect(got.stdout).toContain('This device is offline');
    expect(seconds).toBeLessThan(20);
    expect(echoed.error).toBe('ECONNRESET');
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    expect(outcomeOf(await page())).toMatchObject({ status: '503' });
    expect(outcomeOf(await page()).seconds).toBeLessThan(4.5); // not held again
  });

  it('are forgotten when they hang up, and capped', async () => {
    await vanish();
    const sockets = Array.from({ length: WAITING_MOST }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
    await until('all wait', async () => ((await waiting()) === WAITING_MOST ? true : undefined), 4_000);
    expect((await tcpVisitor(port, 'one too many')).error).toBe('ECONNRESET');
    expect(await waiting()).toBe(WAITING_MOST);
    for (const socket of sockets) socket.resetAndDestroy();
    await until('nobody waits', async () => ((await waiting()) === 0 ? true : undefined), 3_000);
  });
});
