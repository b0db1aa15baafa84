import { type ChildProcess, fork } from 'node:child_process';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import type { AgentEndpoint } from '@culvert/agent';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, patternBlock, startTcpTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

const MIB = 1 << 20;
const PEERS = 100;
const SIZE = 100 * MIB;
const WRITE_MS = 8_000;
/**
 * A deadline begins anew whenever the kernel takes another byte. The kernels' buffers take 1.8 GB before all stand still; that is
 * where TCP runs short of memory, so that who is cut makes room for others.
 */
const CUT_MS = 100_000;
/** 100 transfers of at most one read of 256 KiB each way are 50 MiB; the rest is for a garbage collector that is not in a hurry. */
const MOST_ADDED = 120 * MIB;

let stack: Stack;
let agent: ChildProcess;
let endpoints: AgentEndpoint[];
/** Sends 100 MiB to whoever connects, as fast as they are taken. */
let source: Target;
/** Accepts, and never reads. */
let stalled: Target;
let echoes: Target;
const held = new Set<net.Socket>();
const visitors = new Set<net.Socket>();

beforeAll(async () => {
  stack = await startStack({ env: { CULVERT_LIMIT_WRITE_MS: String(WRITE_MS) } });
  source = await startTcpTarget((socket) => {
    const block = patternBlock(0, 65_521);
    let left = SIZE;
    const more = (): void => {
      while (left > 0 && !socket.destroyed) {
        left -= block.length;
        if (!socket.write(block)) return;
      }
      socket.end();
    };
    socket.on('drain', more);
    more();
  });
  stalled = await startTcpTarget((socket) => void held.add(socket.pause()));
  echoes = await startTcpTarget(echo);
  agent = fork(fileURLToPath(new URL('fixtures/agent.ts', import.meta.url)), {
    env: {
      PATH: process.env.PATH,
      SERVER: stack.info.edge,
      NAME: 'bounded',
      TOKEN: await stack.addDevice('bounded'),
      MAPPINGS: [source, stalled, echoes].map(({ port }, at) => `tcp:${at + 1}=127.0.0.1:${port}`).join(' '),
      AGENT_LIMITS: JSON.stringify({ WRITE_MS }),
    },
    execArgv: [],
  });
  endpoints = await new Promise((resolve) =>
    agent.once('message', (said: { endpoints: AgentEndpoint[] }) => resolve(said.endpoints)),
  );
});
afterEach(() => {
  for (const socket of [...visitors, ...held]) socket.destroy();
  visitors.clear();
  held.clear();
});
afterAll(async () => {
  agent?.kill('SIGKILL');
  await stack?.stop();
  for (const target of [source, stalled, echoes]) await target?.close();
});

function portOf(port: number): number {
  const endpoint = endpoints.find((one) => one.port === port);
  if (endpoint?.scheme !== 'tcp') throw new Error(`there is no tcp endpoint ${port}`);
  return endpoint.publicPort;
}

/** Resident memory of a process, in bytes. */
function rss(pid: number): number {
  return Number(/^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
}

const listenerPid = (): number => stack.info.services.find(({ name }) => name === 'tcp-listener')?.pid as number;

/** Runs a hundred visitors who stall; resolves with what they added to the listener and the agent, at the most. */
async function stall(port: number, onConnect: (visitor: net.Socket) => void): Promise<{ listener: number; agent: number }> {
  const serve = (): Promise<string> => tcpVisitor(portOf(3), 'well').then(({ data }) => data.toString());
  await Promise.all(Array.from({ length: 20 }, serve)); // what is loaded once counts as the base
  const pids = { listener: listenerPid(), agent: agent.pid as number };
  const base = { listener: rss(pids.listener), agent: rss(pids.agent) };
  const added = { listener: 0, agent: 0 };
  const measure = (): void => {
    for (const who of ['listener', 'agent'] as const) added[who] = Math.max(added[who], rss(pids[who]) - base[who]);
  };
  const sampling = setInterval(measure, 50);
  let ended = 0;
  for (let count = 0; count < PEERS; count += 1) {
    const visitor = net.connect({ port: portOf(port), host: '127.0.0.1', allowHalfOpen: true });
    visitors.add(visitor);
    visitor.on('connect', () => onConnect(visitor)).on('error', () => {});
    visitor.on('close', () => {
      ended += 1;
    });
  }
  try {
    const before = await cut();
    const startedAt = Date.now();
    let served = 0;
    await until(
      'the write deadline ends them all',
      async () => {
        expect(await serve()).toBe('well');
        served += 1;
        return (await cut()) - before >= PEERS ? true : undefined;
      },
      CUT_MS,
    );
    expect(Date.now() - startedAt).toBeGreaterThan(WRITE_MS / 2);
    expect(served).toBeGreaterThan(5);
    for (const visitor of visitors) visitor.resume(); // only who reads hears of its end
    await until('all visitors are cut', () => (ended === PEERS ? true : undefined), 10_000);
  } finally {
    clearInterval(sampling);
  }
  return added;
}

/** Visitors cut by the write deadline of the listener, or by the agent's, of which the edge may hand on the reset only. */
async function cut(): Promise<number> {
  const { health } = stack.info.services.find(({ name }) => name === 'tcp-listener') as { health: string };
  const text = await (await fetch(health.replace('/healthz', '/metrics'))).text();
  const lines = text.split('\n').filter((one) => /^culvert_visitors_total\{.*"(write_timeout|peer_reset)"/.test(one));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
}

it('holds a bounded part of downloads whose visitors stop reading, and serves the others', async () => {
  const added = await stall(1, (visitor) => {
    visitor.once('data', () => visitor.pause());
  });
  expect(added.listener).toBeLessThan(MOST_ADDED);
  expect(added.agent).toBeLessThan(MOST_ADDED);
}, 150_000);

it('holds a bounded part of uploads whose device stops reading, and serves the others', async () => {
  const block = patternBlock(0, 65_521);
  const added = await stall(2, (visitor) => {
    const more = (): void => {
      while (!visitor.destroyed && visitor.write(block));
    };
    visitor.on('drain', more);
    more();
  });
  expect(added.listener).toBeLessThan(MOST_ADDED);
  expect(added.agent).toBeLessThan(MOST_ADDED);
}, 150_000);
