import net from 'node:net';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpVisitor, until } from '../e2e/support.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';

let stack: Stack;
let operator: Redis;
let web: Target;
let tcp: Target;
let mixed: RunningAgent[];

beforeAll(async () => {
  stack = await startStack({
    tcpPorts: 100,
    env: {
      CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2,lease-manager=2,port-allocator=2',
      CULVERT_LIMIT_INSTANCE_RENEW_MS: '300',
      CULVERT_LIMIT_INSTANCE_TTL_MS: '1500',
      CULVERT_LIMIT_LISTENER_GONE_MS: '3000',
      CULVERT_LIMIT_SWEEP_MS: '100',
      CULVERT_HEARTBEAT: '30s',
    },
  });
  operator = new Redis(stack.info.redis.address);
  [web, tcp] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  const join = async (name: string, mappings: string[]): Promise<RunningAgent> =>
    stack.runAgent({ name, token: await stack.addDevice(name), mappings });
  const all = [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`];
  mixed = await Promise.all(Array.from({ length: 6 }, (_, i) => join(`mixed-${i}`, all)));
}, 120_000);
afterAll(async () => {
  for (const { pid } of stack?.info.services ?? []) process.kill(pid, 'SIGCONT');
  operator?.disconnect();
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

const hostOf = (agent: RunningAgent): string => new URL(agent.endpoint(80).url as string).hostname;
const status = async (agent: RunningAgent): Promise<string> =>
  (await curl(stack.info.edge, hostOf(agent), '/', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '8')).stdout;
const pidOf = (id: string): number => stack.info.services.find((service) => service.id === id)?.pid as number;
const lease = async (agent: RunningAgent): Promise<{ listener: string; epoch: number; state: string }> => {
  const [listener, epoch, state] = await operator.hmget(`lease:${agent.ready.name as string}`, 'listener', 'epoch', 'state');
  return { listener: listener ?? '', epoch: Number(epoch), state: state ?? '' };
};
const refuses = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = net.connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });

describe('a listener that is gone', () => {
  it('leaves its names to another one and its tcp endpoints to other ports; back, it lets go of them', async () => {
    const places = await Promise.all(mixed.map(lease));
    const victim = places[0]?.listener as string;
    const moving = mixed.filter((_, i) => places[i]?.listener === victim);
    const events = await stack.events('lease.moved.*');
    const ports = moving.map((agent) => agent.endpoint(7).public_port as number);
    process.kill(pidOf(victim), 'SIGSTOP');
    const told = new Map<string, { public_port: number }>();
    for (const agent of moving) {
      const moved = await events.next(20_000);
      expect(moved.data).toMatchObject({ reason: 'listener_gone', previous_listener: victim });
      const name = agent.ready.name as string;
      const former = agent.endpoint(7).public_port;
      const now = await until(`${name} hears of its new port`, () =>
        agent.events.findLast(({ event, public_port: port }) => event === 'endpoint' && port !== undefined && port !== former),
      );
      told.set(name, now as unknown as { public_port: number });
    }
    for (const agent of moving) {
      expect(await until('the page', async () => ((await status(agent)) === '200' ? true : undefined), 15_000)).toBe(true);
      const { public_port } = told.get(agent.ready.name as string) as { public_port: number };
      expect((await tcpVisitor(public_port, 'hi')).data.toString()).toBe('hi');
      expect(agent.readyCount()).toBe(1);
    }
    const after = await Promise.all(moving.map(lease));
    for (const place of after) expect(place.listener).not.toBe(victim);

    process.kill(pidOf(victim), 'SIGCONT');
    for (const port of ports) await until('the former port is closed', async () => ((await refuses(port)) ? true : undefined));
    for (const agent of mixed) expect(await status(agent)).toBe('200');
    await events.close();
  }, 90_000);
});

describe('an instance that stood still', () => {
  it.each([
    'ws-ingress-1',
    'ws-ingress-2',
    'tcp-listener-1',
    'tcp-listener-2',
    'lease-manager-1',
    'lease-manager-2',
    'port-allocator-1',
  ])(
    '%s is declared gone, and does no harm when it goes on',
    async (id) => {
      const before = await Promise.all(mixed.map(lease));
      const gone = await stack.events(`instance.gone.${id}`);
      process.kill(pidOf(id), 'SIGSTOP');
      expect((await gone.next()).data).toMatchObject({ reason: 'silent' });
      process.kill(pidOf(id), 'SIGCONT');
      await gone.close();
      for (const agent of mixed) {
        await until(`the page of ${agent.ready.name}`, async () => ((await status(agent)) === '200' ? true : undefined), 20_000);
      }
      const after = await until('every device is held', async () => {
        const now = await Promise.all(mixed.map(lease));
        return now.every((one) => one.state === 'held') ? now : undefined;
      });
      for (const [i, one] of after.entries()) expect(one.epoch).toBe(before[i]?.epoch);
      for (const agent of mixed) expect(agent.readyCount()).toBe(1);
    },
    60_000,
  );
});

describe('a listener that winds down', () => {
  it('hands its names over before it goes; a device with nothing else keeps serving all the while', async () => {
    const token = await stack.addDevice('pages');
    const agent = await stack.runAgent({ name: 'pages', token, mappings: [`80=127.0.0.1:${web.port}`] });
    const { listener } = await lease(agent);
    const events = await stack.events('lease.moved.pages');
    const failed: string[] = [];
    let visits = 0;
    let over = false;
    const visiting = (async () => {
      while (!over) {
        visits += 1;
        const seen = await status(agent);
        if (seen !== '200') failed.push(seen);
      }
    })();
    const { pid } = stack.info.services.find(({ id }) => id === listener) as { pid: number };
    process.kill(pid, 'SIGTERM');
    const moved = await events.next(10_000);
    expect(moved.data).toMatchObject({ reason: 'wind_down', previous_listener: listener });
    await until(
      'it is back',
      () => (stack.readInfo()?.services.some((one) => one.id === listener && one.pid !== pid) ? true : undefined),
      20_000,
    );
    over = true;
    await visiting;
    expect({ failed, some: visits > 3 }).toEqual({ failed: [], some: true });
    expect((await lease(agent)).listener).not.toBe(listener);
    for (const one of mixed) await until('the page', async () => ((await status(one)) === '200' ? true : undefined), 15_000);
    await events.close();
  }, 60_000);
});
