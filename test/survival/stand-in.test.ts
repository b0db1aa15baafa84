import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { curl, tcpVisitor, until } from '../e2e/support.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';

let stack: Stack;
let operator: Redis;
let web: Target;
let tcp: Target;
let agent: RunningAgent;

beforeAll(async () => {
  stack = await startStack({
    env: { CULVERT_REPLICAS: 'tcp-listener=2,lease-manager=2,port-allocator=2', CULVERT_LIMIT_WIND_DOWN_MS: '5000' },
  });
  operator = new Redis(stack.info.redis.address);
  [web, tcp] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  const mappings = [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`];
  agent = await stack.runAgent({ name: 'mixed', token: await stack.addDevice('mixed'), mappings });
}, 120_000);
afterAll(async () => {
  if (stack !== undefined) process.kill(stack.pid, 'SIGCONT');
  operator?.disconnect();
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

it('names beside tcp endpoints are served elsewhere while their listener is away; ports, tenure and names stay', async () => {
  const host = new URL(agent.endpoint(80).url as string).hostname;
  const status = async (): Promise<string> =>
    (await curl(stack.info.edge, host, '/', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '20')).stdout;
  const listener = (await operator.hget('lease:mixed', 'listener')) as string;
  const pid = stack.info.services.find(({ id }) => id === listener)?.pid as number;
  const seen: string[] = [];
  let over = false;
  const visiting = (async () => {
    while (!over) seen.push(await status());
  })();
  process.kill(stack.pid, 'SIGSTOP'); // who would start it again
  process.kill(pid, 'SIGTERM');
  const port = agent.endpoint(7).public_port as number;
  await until('somebody stands in', async () => ((await operator.exists(`standin:${host}`)) === 1 ? true : undefined));
  await until(
    'it has gone from the store',
    async () => ((await operator.exists(`instance:${listener}`)) === 0 ? true : undefined),
    30_000,
  );
  const before = seen.length;
  await until('visits while it is away', () => (seen.length > before + 5 ? true : undefined), 60_000);
  expect(await operator.hget('lease:mixed', 'listener')).toBe(listener);
  process.kill(stack.pid, 'SIGCONT');
  await until(
    'its own listener serves it again',
    async () => ((await operator.exists(`standin:${host}`)) === 0 ? true : undefined),
    60_000,
  );
  expect((await tcpVisitor(port, 'hi')).data.toString()).toBe('hi');
  over = true;
  await visiting;
  expect(seen.filter((one) => one !== '200')).toEqual([]);
  expect(await operator.zcard('standins')).toBe(0);
  expect(agent.readyCount()).toBe(1);
}, 120_000);
