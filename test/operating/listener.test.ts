import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tcpVisitor, until } from '../e2e/support.ts';
import { type PortBlock, reservePorts } from '../harness/port-blocks.ts';
import { freePort } from '../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, startWebTarget, type Target } from '../harness/targets.ts';
import { Pages } from '../upgrade/pages.ts';
import { commandsOf, runBlock } from './manual.ts';

/**
 * A listener that moves from machine to machine: 127.0.0.2, .3 and .4, each of which it has for itself. What leads public ports
 * to it is a forwarder at 127.0.0.1, as a balancer would be. Beside it the stack has a listener that stays.
 */
const MOVING = 'tcp-listener-a1';
const ROOT = join(import.meta.dirname, '../..');
const commands = commandsOf('docs/OPERATING.md');
const dir = mkdtempSync(join(tmpdir(), 'culvert-moving-'));
let stack: Stack;
let redis: Redis;
let ports: PortBlock;
let web: Target;
let echoes: Target;
let pages: Pages;
let machine: Machine;
const forwarders = new Set<net.Server>();
const agents = new Map<string, RunningAgent>();

interface Machine {
  address: string;
  settings: Record<string, string>;
  process: ChildProcess | undefined;
}

/** What systemd does with the two files of settings of the machine. */
function start({ settings }: Machine): ChildProcess {
  const files = ['common.env', `${MOVING}.env`].map((name) => `. '${settings.ETC}/${name}'`).join('; ');
  const line = `set -a; ${files}; exec '${process.execPath}' '${ROOT}/services/tcp-listener/src/main.ts'`;
  return spawn('bash', ['-ec', line], { env: { PATH: process.env.PATH, CULVERT_INSTANCE_ID: MOVING }, stdio: 'ignore' });
}

/** The secrets and limits of the stack's own listener, and what the manual says that each machine has of its own. */
async function install(address: string): Promise<Machine> {
  const own = stack.info.services.find(({ name }) => name === 'tcp-listener');
  const present = readFileSync(`/proc/${own?.pid}/environ`, 'utf8').split('\0').slice(0, -1);
  const etc = mkdtempSync(join(dir, 'etc-'));
  const common = present.filter(
    (pair) => /^(?:CULVERT_|NODE_COMPILE_CACHE)/.test(pair) && !/^CULVERT_(?:INSTANCE_ID|TCP_PORTS)=/.test(pair),
  );
  // On a machine of its own it would have all addresses.
  const lines = [...common, `CULVERT_TCP_HOST=${address}`].map((pair) => `${pair.replace('=', "='")}'\n`);
  writeFileSync(join(etc, 'common.env'), lines.join(''), { mode: 0o600 });
  const settings = {
    ...{ ETC: etc, ADDRESS: address, PORTS: `${ports.first}-${ports.last}`, HEALTH_PORT: String(await freePort()) },
  };
  await runBlock(commands.get('listener-settings'), settings);
  return { address, settings, process: undefined };
}

/** Steps 4 and 5. */
async function bringUp(next: Machine): Promise<void> {
  machine = next;
  next.process = start(next);
  await runBlock(commands.get('listener-ready'), next.settings);
}

async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
  const child = machine.process as ChildProcess;
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  child.kill(signal);
  return exited;
}

/** Leads this public port to the machine that has the listener now. */
async function forward(port: number): Promise<void> {
  const server = net.createServer({ allowHalfOpen: true }, (visitor) => {
    const listener = net.connect({ port, host: machine.address, allowHalfOpen: true });
    visitor.on('error', () => listener.destroy()).pipe(listener);
    listener.on('error', () => visitor.resetAndDestroy()).pipe(visitor);
  });
  forwarders.add(server);
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done));
}

async function connect(name: string, mappings: string[]): Promise<RunningAgent> {
  const agent = await stack.runAgent({ name, token: await stack.addDevice(name), mappings });
  agents.set(name, agent);
  return agent;
}
const agentOf = (name: string): RunningAgent => agents.get(name) as RunningAgent;
const hostOf = (name: string): string => new URL(agentOf(name).endpoint(80).url as string).host;
const portOf = (name: string): number => agentOf(name).endpoint(7).public_port as number;
const lease = async (name: string): Promise<{ listener: string; epoch: number; state: string }> => {
  const [listener, epoch, state] = await redis.hmget(`lease:${name}`, 'listener', 'epoch', 'state');
  return { listener: listener ?? '', epoch: Number(epoch), state: state ?? '' };
};
const pageServed = (name: string): Promise<true> =>
  until(
    `the page of ${name}`,
    async () => ((await stack.fetchHost(hostOf(name)).catch(() => ({ status: 0 }))).status === 200 ? true : undefined),
    90_000,
  );
const portServed = async (name: string): Promise<void> => {
  expect((await tcpVisitor(portOf(name), `hello ${name}`)).data.toString()).toBe(`hello ${name}`);
};
const leaseEvents = async (): Promise<string[]> =>
  (await stack.storedEvents('CULVERT_EVENTS', '*.*.*')).flatMap(({ type, subject }) =>
    /^(?:device|lease)\./.test(type) ? [`${type} ${subject}`] : [],
  );

beforeAll(async () => {
  ports = await reservePorts(80);
  [web, echoes] = await Promise.all([startWebTarget(), startTcpTarget(echo)]);
  stack = await startStack({ tcpPorts: 40 });
  redis = new Redis(stack.info.redis.address);
  const http = `80=127.0.0.1:${web.port}`;
  const both = [http, `tcp:7=127.0.0.1:${echoes.port}`];
  await connect('stays', both);
  await bringUp(await install('127.0.0.2'));
  // The most free ports decide.
  await until('its ports are known', async () => ((await redis.zcard(`ports:${MOVING}`)) > 60 ? true : undefined), 30_000);
  await connect('both', both);
  await connect('pages', [http]);
  await forward(portOf('both'));
  for (const name of ['both', 'pages']) expect((await lease(name)).listener).toBe(MOVING);
  expect((await lease('stays')).listener).not.toBe(MOVING);
}, 180_000);
afterAll(async () => {
  await pages?.stop();
  machine?.process?.kill('SIGKILL');
  for (const server of forwarders) server.close();
  redis?.disconnect();
  await stack?.stop();
  await Promise.all([web?.close(), echoes?.close()]);
  ports?.release();
  rmSync(dir, { recursive: true, force: true });
}, 90_000);

describe('a listener that is moved as the manual says', () => {
  it('has the same ports on another machine, and no page is refused meanwhile', async () => {
    await portServed('both');
    const before = await Promise.all([...agents.keys()].map(lease));
    const events = await leaseEvents();
    pages = new Pages(stack.info.edge);
    for (const name of agents.keys()) pages.visit(new URL(`http://${hostOf(name)}`).host);
    const next = await install('127.0.0.3');

    // Somebody who is here may finish.
    const visitor = net.connect({ port: portOf('both'), host: machine.address });
    let heard = '';
    visitor.on('data', (chunk: Buffer) => (heard += chunk.toString()));
    visitor.write('before');
    await until('the visitor is served', () => (heard === 'before' ? true : undefined), 30_000);
    const stopped = end('SIGTERM');
    await until(
      'no other is taken',
      async () => ((await tcpVisitor(portOf('both'), '')).error === undefined ? undefined : true),
      30_000,
    );
    visitor.end(' and after');
    await new Promise((done) => visitor.once('close', done));
    expect(heard).toBe('before and after');
    expect(await stopped).toBe(0);

    await bringUp(next);
    await portServed('both');
    await portServed('stays');
    await until(
      'its names are its own again',
      async () => ((await redis.exists(`standin:${new URL(`http://${hostOf('both')}`).hostname}`)) === 0 ? true : undefined),
      60_000,
    );
    const { served } = pages;
    await until('pages are served by the new machine', () => (pages.served > served + 30 ? true : undefined), 60_000);
    await pages.stop();
    expect(pages.faults).toEqual([]);

    const after = await Promise.all([...agents.keys()].map(lease));
    const names = [...agents.keys()];
    for (const [i, one] of after.entries()) {
      expect(one).toMatchObject({ epoch: before[i]?.epoch, state: 'held' });
      // What has names only needs no port, and stays where it was taken.
      if (names[i] === 'pages') expect(one.listener).not.toBe(MOVING);
      else expect(one.listener).toBe(before[i]?.listener);
    }
    for (const agent of agents.values()) expect(agent.readyCount()).toBe(1);
    expect((await leaseEvents()).slice(events.length)).toEqual(['lease.moved pages']);
  }, 240_000);

  it('comes back elsewhere with the same ports when its machine is lost', async () => {
    const before = await lease('both');
    const events = await leaseEvents();
    const next = await install('127.0.0.4');
    expect(await end('SIGKILL')).toBe(null);
    await bringUp(next);
    await portServed('both');
    for (const name of agents.keys()) await pageServed(name);
    await portServed('stays');
    expect(await lease('both')).toEqual(before);
    for (const agent of agents.values()) expect(agent.readyCount()).toBe(1);
    expect((await leaseEvents()).slice(events.length)).toEqual([]);
  }, 180_000);

  it('leaves everything to others when it is given up', async () => {
    const { epoch } = await lease('both');
    const former = portOf('both');
    expect(await end('SIGTERM')).toBe(0);
    const moved = await until(
      'the device hears of another port',
      () =>
        agentOf('both').events.findLast(
          ({ event, public_port: port }) => event === 'endpoint' && port !== undefined && port !== former,
        ),
      120_000,
    );
    expect((await tcpVisitor(moved.public_port as number, 'moved')).data.toString()).toBe('moved');
    await pageServed('both');
    expect(await lease('both')).toMatchObject({ epoch, state: 'held' });
    expect((await lease('both')).listener).not.toBe(MOVING);
  }, 180_000);
});
