import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { DividingProxy } from '../harness/dividing-proxy.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';

let stack: Stack;
let target: Target;
beforeAll(async () => {
  target = await startTcpTarget(echo);
  stack = await startStack({ env: { CULVERT_LIMIT_DIAL_MS: '2500', CULVERT_HEARTBEAT: '30s' } });
}, 120_000);
afterAll(async () => {
  await stack?.stop();
  await target?.close();
});

/** A proxy that ends with the test. */
async function proxy(): Promise<DividingProxy> {
  const one = await DividingProxy.start(stack.info.edge);
  onTestFinished(() => one.stop());
  return one;
}

/** An agent that tries these servers in turn, and opens a new transfer for every visitor. */
async function join(name: string, ...servers: string[]): Promise<RunningAgent> {
  const [server = stack.info.edge, ...others] = servers;
  const agent = stack.spawnAgent({
    ...{ name, server, token: await stack.addDevice(name), mappings: [`tcp:7=127.0.0.1:${target.port}`] },
    args: ['--warm', '0', ...others.flatMap((other) => ['--server', other])],
  });
  await agent.event('ready', 30_000);
  return agent;
}

/** What a visitor gets back for what it says; empty when it gets nothing. */
const visit = async (agent: RunningAgent): Promise<string> =>
  (await tcpVisitor(agent.endpoint(7).public_port as number, 'hello')).data.toString();
const served = (agent: RunningAgent): Promise<true> =>
  until('a visitor is served', async () => ((await visit(agent)) === 'hello' ? true : undefined), 20_000);
const listenerMetrics = async (): Promise<string> => {
  const listener = stack.info.services.find(({ name }) => name === 'tcp-listener');
  return (await fetch((listener?.health ?? '').replace('/healthz', '/metrics'))).text();
};
const canaries = async (outcome: string): Promise<number> =>
  Number(new RegExp(`culvert_canaries_total\\{[^}]*outcome="${outcome}"[^}]*\\} (\\d+)`).exec(await listenerMetrics())?.[1] ?? 0);

describe('a control connection that lives while transfers are dead', () => {
  it('is found by a canary after a visitor has waited in vain, and ended; the agent goes to its next server', async () => {
    const bad = await proxy();
    const agent = await join('strict', bad.url, stack.info.edge);
    await served(agent);
    bad.transfers = 'blackhole';
    const lost = await stack.events('device.disconnected.strict');
    expect(await visit(agent)).toBe('');
    const event = await lost.next(20_000);
    expect(event.data).toMatchObject({ reason: 'transfers_dead' });
    await agent.event('ready', 20_000);
    expect(agent.ready.resumed).toBe(true);
    await served(agent);
    expect(bad.kept).toBeGreaterThanOrEqual(2); // the visitor's transfer, and the canary
    expect(await canaries('dead')).toBe(1);
    await lost.close();
  }, 90_000);

  it('is ended once only where no transfer ever passes; when one does again, all is as before', async () => {
    const bad = await proxy();
    const agent = await join('blocked', bad.url);
    const before = await canaries('damped');
    bad.transfers = 'blackhole';
    await visit(agent);
    await agent.event('ready', 30_000);
    await until(
      'a canary of the second control connection fails, too',
      async () => {
        await visit(agent);
        return (await canaries('damped')) > before ? true : undefined;
      },
      30_000,
    );
    expect(agent.readyCount()).toBe(2);
    bad.transfers = 'pass';
    await served(agent);
    expect(agent.readyCount()).toBe(2);
  }, 90_000);

  it('is left alone when the canary passes: the local target is slow, not the way', async () => {
    const agent = await join('slow');
    const alive = await canaries('alive');
    agent.pause();
    expect(await visit(agent)).toBe('');
    agent.resume();
    await until('the canary comes back', async () => ((await canaries('alive')) > alive ? true : undefined), 20_000);
    expect(agent.readyCount()).toBe(1);
    await served(agent);
  }, 60_000);

  it('is given up by the agent itself when its dials break again and again', async () => {
    const bad = await proxy();
    const agent = await join('broken', bad.url, stack.info.edge);
    bad.transfers = 'reset';
    const visits: Promise<unknown>[] = [];
    const over = agent.event('disconnected', 20_000);
    let left = false;
    void over.then(() => {
      left = true;
    });
    for (let turn = 0; !left && turn < 50; turn += 1) {
      visits.push(visit(agent));
      await until('the dial was broken', () => (bad.kept > turn || left ? true : undefined), 20_000);
    }
    expect(await over).toMatchObject({
      code: 'transfers_dead',
      message: expect.stringContaining('no transfer connection comes about'),
    });
    await agent.event('ready', 20_000);
    await served(agent);
    await Promise.all(visits);
  }, 90_000);
});
