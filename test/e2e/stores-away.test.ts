import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { curl, tcpVisitor, until } from './support.ts';

let stack: Stack;
let web: Target;
let tcp: Target;
let agent: RunningAgent;
let host: string;

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_HEARTBEAT: '1s' } });
  web = await startWebTarget();
  tcp = await startTcpTarget(echo);
  agent = await stack.runAgent({
    name: 'steady',
    token: await stack.addDevice('steady'),
    mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`],
  });
  host = new URL(agent.endpoint(80).url as string).hostname;
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

const status = async (): Promise<string> =>
  (await curl(stack.info.edge, host, '/', '-o', '/dev/null', '-w', '%{http_code}')).stdout;
const echoed = async (): Promise<string> => (await tcpVisitor(agent.endpoint(7).public_port as number, 'hi')).data.toString();

describe('a connected device', () => {
  it('goes on serving while Redis is frozen, by name and by port', async () => {
    expect(await status()).toBe('200');
    process.kill(stack.info.redis.pid, 'SIGSTOP');
    try {
      await new Promise((done) => setTimeout(done, 3_000)); // past the age of a cached route
      expect(await status()).toBe('200');
      expect(await echoed()).toBe('hi');
    } finally {
      process.kill(stack.info.redis.pid, 'SIGCONT');
    }
    expect(await status()).toBe('200');
  });

  it('is the same after Redis, NATS and nginx were killed and restarted', async () => {
    for (const what of ['redis', 'natsServer', 'nginx'] as const) {
      const { pid } = stack.info[what];
      process.kill(pid, 'SIGKILL');
      await until(`${what} is back`, () => (stack.readInfo()?.[what].pid !== pid ? true : undefined), 20_000);
      await until(`the page after ${what}`, async () => ((await status()) === '200' ? true : undefined), 20_000);
      await until(`the port after ${what}`, async () => ((await echoed()) === 'hi' ? true : undefined), 20_000);
    }
    const late = await stack.runAgent({
      name: 'late',
      token: await stack.addDevice('late'),
      mappings: [`tcp:7=127.0.0.1:${tcp.port}`],
    });
    expect((await tcpVisitor(late.endpoint(7).public_port as number, 'new')).data.toString()).toBe('new');
    await late.stop();
  });

  it.each(['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator'])(
    'is reachable again after %s was killed',
    async (name) => {
      const before = agent.endpoints();
      const { pid } = stack.info.services.find((service) => service.name === name) as { pid: number };
      process.kill(pid, 'SIGKILL');
      await until(
        `${name} is back`,
        () => (stack.readInfo()?.services.some((service) => service.name === name && service.pid !== pid) ? true : undefined),
        20_000,
      );
      await until('the page', async () => ((await status()) === '200' ? true : undefined), 40_000);
      await until('the port', async () => ((await echoed()) === 'hi' ? true : undefined), 40_000);
      expect(agent.endpoints()).toEqual(before);
    },
  );
});
