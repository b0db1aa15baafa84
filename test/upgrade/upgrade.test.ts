import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { checkEvents } from '../faults/event-check.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { Pages } from './pages.ts';
import { hasPrevious, installPrevious, PREVIOUS, replaceFiles } from './previous.ts';
import { agentOf, reloadEdge, renewRights, restartInstance } from './steps.ts';

const there = hasPrevious();
if (!there) console.warn(`NOT TESTED: upgrades; this clone has no history with ${PREVIOUS}`);

/** One after the other, as below; within a test the order of its lines is that of an upgrade. */
describe.skipIf(!there)('an upgrade from the previous version, under visitors', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-upgrade-'));
  /** What is upgraded, and another copy that stays as it is: its agent is a device that nobody upgrades. */
  const installed = join(dir, 'installed');
  const former = join(dir, 'former');
  let stack: Stack;
  let web: Target;
  let echoes: Target;
  let pages: Pages;
  const urls = new Map<string, string>();
  /** Public ports of tcp endpoints, for good. */
  const ports = new Map<string, number>();

  const connect = async (name: string, program?: string[]): Promise<RunningAgent> => {
    const token = await stack.addDevice(name);
    const agent = await stack.runAgent({
      ...{ name, token, mappings: [`80=127.0.0.1:${web.port}`] },
      ...(program === undefined ? {} : { program }),
    });
    const url = agent.endpoint(80).url as string;
    urls.set(name, url);
    pages.visit(new URL(url).host);
    return agent;
  };
  const connectTcp = async (name: string, program?: string[]): Promise<void> => {
    const token = await stack.addDevice(name);
    const mappings = [`tcp:7=127.0.0.1:${echoes.port}`];
    const agent = await stack.runAgent({ name, token, mappings, ...(program === undefined ? {} : { program }) });
    ports.set(name, agent.endpoint(7).public_port as number);
  };
  /** A tcp endpoint refuses while its listener is being restarted, and keeps its port. */
  const tcpServed = async (): Promise<void> => {
    for (const [name, port] of ports) {
      const answers = async (): Promise<true | undefined> => {
        const { data } = await tcpVisitor(port, name).catch(() => ({ data: Buffer.alloc(0) }));
        return data.toString() === name ? true : undefined;
      };
      await until(`port ${port} of ${name} answers`, answers, 60_000);
    }
  };
  const instances = (last: string): string[] => {
    const order = ['lease-manager', 'port-allocator', 'tcp-listener', 'ws-ingress', 'admin'];
    return order.map((name) => `${name}-${last}`);
  };

  beforeAll(async () => {
    await Promise.all([installPrevious(installed), installPrevious(former)]);
    [web, echoes] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
    stack = await startStack({
      root: installed,
      env: {
        CULVERT_REPLICAS: 'lease-manager=2,port-allocator=2,tcp-listener=2,ws-ingress=2,admin=2',
        // Former workers of the edge cut what is left of transfers then, whoever is served by one in that moment: longer than this test goes on.
        CULVERT_LIMIT_WIND_DOWN_MS: '20000',
      },
    });
    pages = new Pages(stack.info.edge);
    await connect('aged', agentOf(former));
    await connect('young');
    await connectTcp('aged-tcp', agentOf(former));
    await connectTcp('young-tcp');
    await tcpServed();
  }, 240_000);
  afterAll(async () => {
    await pages?.stop();
    await stack?.stop();
    await Promise.all([web?.close(), echoes?.close()]);
    rmSync(dir, { recursive: true, force: true });
  }, 120_000);

  it('replaces files and rights while everything runs', async () => {
    replaceFiles(installed);
    await renewRights(stack);
    // NATS asks everybody whose rights have changed to connect anew; the API says 503 for that moment.
    await until(
      'the API answers',
      async () => ((await stack.admin('GET', '/v1/devices/aged')).status === 200 ? true : undefined),
      30_000,
    );
  }, 60_000);

  it('has one of each service of the new version beside one of the former, with agents of both', async () => {
    for (const id of instances('1')) await restartInstance(stack, id);
    await connect('aged-2', agentOf(former));
    await connect('young-2');
    await connectTcp('aged-tcp-2', agentOf(former));
    expect(pages.faults).toEqual([]);
    await tcpServed();
  }, 400_000);

  it('has the new version alone, then the new edge, and has lost no request', async () => {
    for (const id of instances('2')) await restartInstance(stack, id);
    reloadEdge(stack);
    const before = pages.served;
    await connect('aged-3', agentOf(former));
    await connect('young-3');
    const end = performance.now() + 60_000;
    while (pages.served < before + 50) {
      expect(performance.now(), `only ${pages.served - before} requests were served since`).toBeLessThan(end);
      await new Promise((done) => setTimeout(done, 50));
    }
    await pages.stop();
    expect(pages.faults).toEqual([]);
    await tcpServed();
    expect(pages.served).toBeGreaterThan(100);
  }, 400_000);

  it('has told every event in order', async () => {
    const { faults, events } = checkEvents(await stack.storedEvents('CULVERT_EVENTS', '*.*.*'));
    expect(faults).toEqual([]);
    expect(events).toBeGreaterThanOrEqual(12);
  }, 60_000);

  it('starts from what the former version has stored: the same names and ports', async () => {
    await stack.restart();
    const end = performance.now() + 90_000;
    for (const url of urls.values()) {
      for (;;) {
        const { status, body } = await stack
          .fetchHost(new URL(url).host)
          .catch((error: Error) => ({ status: 0, body: error.message }));
        if (status === 200 && body.includes('hello from')) break;
        expect(performance.now(), `${url}: ${status} ${body.slice(0, 200)}`).toBeLessThan(end);
        await new Promise((done) => setTimeout(done, 200));
      }
    }
    await tcpServed();
  }, 240_000);
});
