import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { curl, tcpVisitor, until } from '../e2e/support.ts';
import { type CulvertEventLike, type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { statusOfHandshake } from './handshake.ts';
import { Stayer } from './stayer.ts';

const RECOVERY_MS = 3_000;
/** What the design promises: 10 s beyond the time in which the living are heard. */
const BACK_MS = RECOVERY_MS + 10_000;
const CONNECTED = 20;
const IN_GRACE = 5;

let stack: Stack;
let web: Target;
let tcp: Target;
let operator: Redis;
const tokens = new Map<string, string>();
const agents = new Map<string, RunningAgent>();
const mappings = (): string[] => [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${tcp.port}`];

async function join_(name: string): Promise<RunningAgent> {
  const token = tokens.get(name) ?? (await stack.addDevice(name));
  tokens.set(name, token);
  const agent = await stack.runAgent({ name, token, mappings: mappings() });
  agents.set(name, agent);
  return agent;
}

beforeAll(async () => {
  stack = await startStack({
    tcpPorts: 100,
    env: {
      CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2,lease-manager=2,port-allocator=2',
      CULVERT_LIMIT_RECOVERY_MS: String(RECOVERY_MS),
      CULVERT_LIMIT_INSTANCE_RENEW_MS: '500',
    },
  });
  operator = new Redis(stack.info.redis.address, { maxRetriesPerRequest: null });
  operator.on('error', () => {}); // it is killed on purpose
  [web, tcp] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  await Promise.all(Array.from({ length: CONNECTED }, (_, i) => join_(`lively-${i}`)));
  await Promise.all(Array.from({ length: IN_GRACE }, (_, i) => join_(`asleep-${i}`)));
  await Promise.all(Array.from({ length: IN_GRACE }, (_, i) => agents.get(`asleep-${i}`)?.stop()));
  tokens.set('outcast', await stack.addDevice('outcast'));
  await stack.culvert('device', 'revoke', 'outcast');
}, 120_000);
afterAll(async () => {
  operator?.disconnect();
  await stack?.stop();
  await web?.close();
  await tcp?.close();
});

const hostOf = (agent: RunningAgent): string => new URL(agent.endpoint(80).url as string).hostname;
const page = async (agent: RunningAgent): Promise<string> =>
  (await curl(stack.info.edge, hostOf(agent), '/', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '5')).stdout;
const echoes = async (agent: RunningAgent): Promise<boolean> =>
  (await tcpVisitor(agent.endpoint(7).public_port as number, 'hi', { deadlineMs: 5_000 })).data.toString() === 'hi';
const lively = (): RunningAgent[] => [...agents].flatMap(([name, agent]) => (name.startsWith('lively') ? [agent] : []));

/** (epoch, seq) of every device only rises, in the order of the stream. */
function expectForward(events: CulvertEventLike[]): void {
  const last = new Map<string, [number, number]>();
  const ids = new Set<string>();
  for (const { id, subject, type, data } of events) {
    if (!type.startsWith('device.') && !type.startsWith('lease.')) continue;
    if (ids.has(id)) continue; // at least once
    ids.add(id);
    const [epoch, seq] = [Number(data.epoch), Number(data.seq)];
    const [before, nth] = last.get(subject) ?? [0, -1];
    expect(epoch > before || (epoch === before && seq > nth), `${subject} ${type} ${epoch}/${seq} after ${before}/${nth}`).toBe(
      true,
    );
    last.set(subject, [epoch, seq]);
  }
}

const losses: [string, () => Promise<unknown>][] = [
  ['is emptied', () => operator.flushall()],
  [
    'is killed and its files are gone',
    async () => {
      rmSync(join(stack.stateDir, 'redis', 'appendonlydir'), { recursive: true });
      const { pid } = stack.info.redis;
      process.kill(pid, 'SIGKILL');
      await until('Redis is back', () => (stack.readInfo()?.redis.pid !== pid ? true : undefined), 20_000);
    },
  ],
];

describe.each(losses)('when the store %s', (_, lose) => {
  it('names, ports, tokens, revocations and running transfers stay', async () => {
    const before = new Map([...agents].map(([name, agent]) => [name, agent.endpoints()]));
    const readies = new Map([...agents].map(([name, agent]) => [name, agent.readyCount()]));
    for (const agent of lively()) expect(await page(agent)).toBe('200');
    const stayers = lively()
      .slice(0, 4)
      .map((agent) => new Stayer(agent.endpoint(7).public_port as number));
    await Promise.all(stayers.map((stayer) => stayer.exchange()));
    const incarnation = await operator.get('store:incarnation');

    await lose();
    const lostAt = Date.now();
    let away = 0;
    await until(
      'all pages and ports serve',
      async () => {
        const seen = await Promise.all(lively().map(async (agent) => (await page(agent)) === '200' && (await echoes(agent))));
        away += seen.filter((well) => !well).length;
        const present = await operator.get('store:incarnation').catch(() => null);
        return seen.every(Boolean) && present !== null && present !== incarnation ? true : undefined;
      },
      BACK_MS,
    );
    expect(away, 'visits that failed meanwhile').toBe(0);
    await Promise.all(stayers.map((stayer) => stayer.exchange()));
    for (const stayer of stayers) stayer.close();
    for (const [name, agent] of agents) {
      if (!name.startsWith('lively')) continue;
      expect(agent.readyCount(), name).toBe(readies.get(name));
      expect(agent.endpoints()).toEqual(before.get(name));
    }

    const page503 = await curl(stack.info.edge, new URL(before.get('asleep-0')?.[0]?.url as string).hostname, '/', '-i');
    expect(page503.stdout).toMatch(/^HTTP\/1\.1 503/);
    const dues = await Promise.all(
      Array.from({ length: IN_GRACE }, (_, i) => operator.hmget(`lease:asleep-${i}`, 'state', 'due')),
    );
    for (const [state, due] of dues) {
      expect(state).toBe('grace');
      expect(Number(due)).toBeGreaterThan(lostAt + 110_000);
    }
    for (let i = 0; i < IN_GRACE; i++) {
      const agent = await join_(`asleep-${i}`);
      expect(agent.ready.resumed).toBe(true);
      expect(agent.endpoints()).toEqual(before.get(`asleep-${i}`));
      expect(await page(agent)).toBe('200');
    }
    for (let i = 0; i < IN_GRACE; i++) await agents.get(`asleep-${i}`)?.stop();

    expect(await statusOfHandshake(stack.info.edge, 'outcast', tokens.get('outcast') as string)).toBe('401');

    const events = await stack.storedEvents('CULVERT_EVENTS', '*.*.*');
    expectForward(events);
    const lives = await operator.get('store:incarnation');
    const recovered = events.filter(({ type, subject }) => type === 'store.recovered' && subject === lives);
    expect(recovered.map(({ data }) => data)).toMatchObject([
      { previous: incarnation, incarnation: lives, leases: CONNECTED + IN_GRACE, reason: 'data_lost' },
    ]);
    for (const [name] of agents) {
      const ends = events.filter(
        ({ type, subject, data }) => subject === name && type === 'device.disconnected' && data.reason !== 'bye',
      );
      expect(ends).toEqual([]);
    }
  }, 90_000);
});
