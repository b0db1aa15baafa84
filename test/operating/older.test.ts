import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { request } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { checkEvents } from '../faults/event-check.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { statusOfHandshake } from '../survival/handshake.ts';
import { commandsOf, runBlock } from './manual.ts';

/** A backup is put under a system whose services, devices and NATS have gone on meanwhile, and know better. */
const dir = mkdtempSync(join(tmpdir(), 'culvert-older-'));
const STATE = join(dir, 'state');
const BACKUP = join(dir, 'backup');
const BACK_MS = 90_000;
/** As many public ports as five devices have: who comes later has to take those of the ones that went. */
const PORTS = 10;
let stack: Stack;
let operator: Redis;
let targets: [Target, Target];
const tokens = new Map<string, string>();
const agents = new Map<string, RunningAgent>();

const tokenOf = (name: string): string => tokens.get(name) as string;
const agentOf = (name: string): RunningAgent => agents.get(name) as RunningAgent;
const add = async (name: string): Promise<void> => void tokens.set(name, await stack.addDevice(name));
async function connect(name: string): Promise<RunningAgent> {
  const mappings = [`80=127.0.0.1:${targets[0].port}`, `tcp:7=127.0.0.1:${targets[1].port}`];
  const agent = stack.spawnAgent({ name, token: tokenOf(name), mappings });
  await agent.event('ready', BACK_MS); // with no port free it tries again
  agents.set(name, agent);
  return agent;
}
const portsOf = (name: string): number[] =>
  agentOf(name)
    .endpoints()
    .flatMap((one) => one.public_port ?? []);
const hostOf = (name: string): string => new URL(agentOf(name).endpoint(80).url as string).host;
const page = async (host: string): Promise<number> => (await stack.fetchHost(host).catch(() => ({ status: 0 }))).status;
const serves = async (name: string): Promise<boolean> => {
  const echoed = await tcpVisitor(portsOf(name)[0] as number, name, { deadlineMs: 5_000 });
  return (await page(hostOf(name))) === 200 && echoed.data.toString() === name;
};
const served = (name: string): Promise<true> =>
  until(`${name} is served`, async () => ((await serves(name)) ? true : undefined), BACK_MS);
const handshake = (name: string, token = tokenOf(name)): Promise<string> => statusOfHandshake(stack.info.edge, name, token);
const leaseOf = async (name: string): Promise<{ state: string; epoch: number }> => {
  const [state, epoch] = await operator.hmget(`lease:${name}`, 'state', 'epoch');
  return { state: state ?? 'none', epoch: Number(epoch) };
};
const asOperator = async (token: string): Promise<number> => {
  const answer = await request(new URL('/v1/devices', stack.info.admin), { headers: { authorization: `Bearer ${token}` } });
  await answer.body.dump();
  return answer.statusCode;
};
async function addOperator(name: string): Promise<string> {
  const { stdout, stderr } = await stack.culvert('operator', 'add', name, '--role', 'viewer', '--json');
  expect(stderr).toBe('');
  return (JSON.parse(stdout) as { token: string }).token;
}

beforeAll(async () => {
  mkdirSync(STATE);
  mkdirSync(BACKUP);
  targets = [await startWebTarget(), await startTcpTarget(echo)];
  stack = await startStack({
    stateDir: STATE,
    tcpPorts: PORTS,
    env: {
      CULVERT_REPLICAS: 'ws-ingress=2,lease-manager=2',
      CULVERT_GRACE: '4s',
      CULVERT_LIMIT_COOL_DOWN_MS: '2000',
      CULVERT_LIMIT_ROUTE_STALE_MS: '1000',
      CULVERT_LIMIT_EDGE_KEEPALIVE_MS: '500',
    },
  });
  operator = new Redis(stack.info.redis.address, { maxRetriesPerRequest: null });
  operator.on('error', () => {}); // it is killed on purpose
}, 180_000);
afterAll(async () => {
  operator?.disconnect();
  await stack?.stop();
  for (const target of targets ?? []) await target.close();
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
}, 60_000);

describe('a backup that is restored while everything else lives', () => {
  const leases = new Map<string, { state: string; epoch: number }>();
  const ports = new Map<string, number[]>();
  const hosts = new Map<string, string>();
  const before: { rotated: string; removed: string; stays: string } = { rotated: '', removed: '', stays: '' };

  it('comes after a time in which much has changed', async () => {
    for (const name of ['stays', 'again', 'left', 'revoked', 'ended', 'rotated']) await add(name);
    for (const name of ['stays', 'again', 'left', 'revoked', 'ended']) {
      await connect(name);
      hosts.set(name, hostOf(name));
    }
    await stack.admin('PUT', '/v1/devices/stays/policy', { visitors: 3 });
    before.removed = await addOperator('removed');
    before.rotated = tokenOf('rotated');
    expect(await asOperator(before.removed)).toBe(200);
    await runBlock(commandsOf('docs/OPERATING.md').get('backup'), { STATE, BACKUP, REDIS_URL: stack.info.redis.address });

    await agentOf('again').stop();
    await connect('again');
    await stack.culvert('device', 'revoke', 'revoked');
    await agentOf('ended').stop();
    await stack.admin('PUT', '/v1/devices/stays/policy', { visitors: 5 });
    await stack.culvert('operator', 'remove', 'removed');
    before.stays = await addOperator('stays');
    const { stdout } = await stack.culvert('device', 'rotate', 'rotated', '--at-once', '--json');
    tokens.set('rotated', (JSON.parse(stdout) as { token: string }).token);
    // They take the ports of the two that have gone.
    for (const name of ['newer', 'heir']) {
      await add(name);
      await connect(name);
    }
    const freed = [...portsOf('revoked'), ...portsOf('ended')].sort();
    expect([...portsOf('newer'), ...portsOf('heir')].sort()).toEqual(freed);
    await agentOf('left').stop();
    for (const name of ['stays', 'again', 'newer', 'heir']) {
      await served(name);
      leases.set(name, await leaseOf(name));
      ports.set(name, portsOf(name));
    }
  }, 240_000);

  it('disturbs no device that is connected, those that have come since included', async () => {
    const { pid } = stack.info.redis;
    renameSync(join(STATE, 'redis/appendonlydir'), join(STATE, 'redis/lost'));
    renameSync(join(BACKUP, 'appendonlydir'), join(STATE, 'redis/appendonlydir'));
    process.kill(pid, 'SIGKILL');
    await until('Redis is back', () => (stack.readInfo()?.redis.pid !== pid ? true : undefined), BACK_MS);
    for (const [name, lease] of leases) {
      const back = async (): Promise<true | undefined> => {
        const { state, epoch } = await leaseOf(name);
        return state === 'held' && epoch === lease.epoch ? true : undefined;
      };
      await until(`the lease of ${name} is what it was`, back, BACK_MS);
      await served(name);
      expect(portsOf(name)).toEqual(ports.get(name));
      expect(agentOf(name).readyCount(), name).toBe(1);
    }
  }, 240_000);

  it('brings back no right that was withdrawn, and loses none that was given', async () => {
    expect(await handshake('revoked')).toBe('401');
    expect(await handshake('rotated', before.rotated)).toBe('401');
    expect(await asOperator(before.removed)).toBe(401);
    expect(await asOperator(before.stays)).toBe(200);
    expect((await stack.admin('GET', '/v1/devices/stays/policy')).body).toMatchObject({ visitors: 5 });
  }, 60_000);

  it('leaves no lease to anybody who has gone, and no port to two', async () => {
    for (const name of ['left', 'revoked', 'ended']) {
      await until(
        `the lease of ${name} is over`,
        async () => ((await leaseOf(name)).state === 'none' ? true : undefined),
        BACK_MS,
      );
      expect(await page(hosts.get(name) as string), name).toBe(404);
    }
    // Two ports are free again once their cool-down is over: for a token that was given since the backup.
    await connect('rotated');
    await served('rotated');
    for (const name of leases.keys()) expect(await serves(name), name).toBe(true);
    const held = await operator.hgetall('ports:tcp-listener-1:held');
    const holders = ['stays', 'again', 'newer', 'heir', 'rotated'];
    const owners = holders.flatMap((name) => [name, name]).sort();
    expect(
      Object.values(held)
        .map((holder) => holder.split(' ')[0])
        .sort(),
    ).toEqual(owners);
    await agentOf('rotated').stop();
  }, 240_000);

  it('is announced, and no event goes back behind those that were told', async () => {
    const events = await stack.storedEvents('CULVERT_EVENTS', '*.*.*');
    expect(events.filter(({ type, data }) => type === 'store.recovered' && data.reason === 'writes_lost')).toHaveLength(1);
    // What was lost leaves gaps; nothing comes twice or late.
    expect(checkEvents(events).faults.filter((fault) => fault.startsWith('out of order'))).toEqual([]);
  }, 60_000);
});
