import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpVisitor, until } from '../e2e/support.ts';
import { type CulvertEventLike, type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { statusOfHandshake } from './handshake.ts';
import { Stayer } from './stayer.ts';

/** Longer than every TTL of an instance here, and than a listener may be gone. */
const AWAY_MS = 6_000;
const DEVICES = 8;

let stack: Stack;
let web: Target;
let tcp: Target;
let agents: RunningAgent[];
let stranger: string;

beforeAll(async () => {
  stack = await startStack({
    tcpPorts: 100,
    env: {
      CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2,lease-manager=2,port-allocator=2',
      CULVERT_LIMIT_INSTANCE_RENEW_MS: '500',
      CULVERT_LIMIT_INSTANCE_TTL_MS: '2000',
      CULVERT_LIMIT_LISTENER_GONE_MS: '3000',
      CULVERT_HEARTBEAT: '2s',
    },
  });
  [web, tcp] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  stranger = await stack.addDevice('stranger');
  agents = await Promise.all(
    Array.from({ length: DEVICES }, async (_, i) =>
      stack.runAgent({
        name: `steady-${i}`,
        token: await stack.addDevice(`steady-${i}`),
        mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`],
      }),
    ),
  );
}, 120_000);
afterAll(async () => {
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

const status = async (agent: RunningAgent): Promise<string> => {
  const host = new URL(agent.endpoint(80).url as string).hostname;
  return (await curl(stack.info.edge, host, '/', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '10')).stdout;
};
/** Every event of a device follows the one before it: none is missing, none comes twice under another id. */
function expectWhole(events: CulvertEventLike[]): void {
  const last = new Map<string, { epoch: number; seq: number }>();
  for (const { subject, type, data } of events) {
    if (!type.startsWith('device.') && !type.startsWith('lease.')) continue;
    const [epoch, seq] = [Number(data.epoch), Number(data.seq)];
    const before = last.get(subject);
    expect(epoch === before?.epoch ? seq === before.seq + 1 : epoch > (before?.epoch ?? 0) && seq === 0).toBe(true);
    last.set(subject, { epoch, seq });
  }
}

const CASES: { name: string; what: ('redis' | 'natsServer')[] }[] = [
  { name: 'Redis stands', what: ['redis'] },
  { name: 'NATS stands', what: ['natsServer'] },
  { name: 'Redis and NATS stand', what: ['redis', 'natsServer'] },
];

describe.each(CASES)('while $name still', ({ what }) => {
  it('connected devices and running transfers notice nothing, and afterwards no event is missing', async () => {
    for (const agent of agents) expect(await status(agent)).toBe('200');
    const readies = agents.map((agent) => agent.readyCount());
    const endpoints = agents.map((agent) => agent.endpoints());
    const stayers = agents.slice(0, 3).map((agent) => new Stayer(agent.endpoint(7).public_port as number));
    await Promise.all(stayers.map((stayer) => stayer.exchange()));
    const pids = what.map((one) => stack.info[one].pid);
    for (const pid of pids) process.kill(pid, 'SIGSTOP');
    try {
      const end = Date.now() + AWAY_MS;
      while (Date.now() < end) {
        await Promise.all(stayers.map((stayer) => stayer.exchange()));
        if (!what.includes('natsServer')) for (const agent of agents) expect(await status(agent)).toBe('200');
        await new Promise((done) => setTimeout(done, 200));
      }
      expect(await statusOfHandshake(stack.info.edge, 'stranger', stranger)).toBe('503');
    } finally {
      for (const pid of pids) process.kill(pid, 'SIGCONT');
    }
    for (const agent of agents) {
      await until('the page', async () => ((await status(agent)) === '200' ? true : undefined), 20_000);
      const port = agent.endpoint(7).public_port as number;
      await until('the port', async () => ((await tcpVisitor(port, 'hi')).data.toString() === 'hi' ? true : undefined), 20_000);
    }
    await Promise.all(stayers.map((stayer) => stayer.exchange()));
    for (const stayer of stayers) stayer.close();
    expect(agents.map((agent) => agent.readyCount())).toEqual(readies);
    expect(agents.map((agent) => agent.endpoints())).toEqual(endpoints);

    const name = `late-${what.join('-').toLowerCase()}`;
    const late = await stack.runAgent({ name, token: await stack.addDevice(name), mappings: [`80=127.0.0.1:${web.port}`] });
    await late.stop();
    const events = await until('the events of the newcomer', async () => {
      const all = await stack.storedEvents('CULVERT_EVENTS', '*.*.*');
      return all.some(({ type, subject }) => type === 'lease.grace' && subject === name) ? all : undefined;
    });
    expectWhole(events);
    expect(events.filter(({ type, subject }) => type === 'device.disconnected' && subject.startsWith('steady'))).toEqual([]);
    expect(events.filter(({ type }) => type === 'store.recovered' || type === 'lease.moved')).toEqual([]);
  }, 90_000);
});
