/**
 * `npm run bench:idle`: what devices cost that are connected and do nothing. Real control connections to the real stack.
 *   --devices 1000,10000,19000   how many, step by step      --ingresses 1   processes of ws-ingress that share them
 * Every device has one public port, so the listening ports of tcp-listener are measured too, over as many listeners as it
 * takes. The figures go to bench/idle.json and, from 1,000 devices on, into docs/PERFORMANCE.md. No process may hold more descriptors than `ulimit -n` says; devices connect to the ingress itself, past the edge.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { startStack } from '../harness/system.ts';
import { commandLine, numberOf } from './command-line.ts';
import { cpuSeconds, residentMib } from './figures.ts';
import type { Batch, Progress } from './idle/devices.ts';
import { ownPorts, PORTS_EACH, startMore } from './idle/listeners.ts';
import { type IdleRow, save, table } from './idle/report.ts';
import type { Stalls } from './idle/stalls.ts';
import { enterNamespace } from './namespace.ts';

const { values } = commandLine({
  options: {
    devices: { type: 'string', default: '1000,10000,19000' },
    ingresses: { type: 'string', default: '1' },
    watch: { type: 'string', default: '20' },
  },
});
const steps = values.devices.split(',').map((step) => numberOf('devices', step));
const ingresses = numberOf('ingresses', values.ingresses);
const watchMs = numberOf('watch', values.watch) * 1000;
const most = Math.max(...steps);
const DEVICES_EACH = 9_500;
const HEARTBEAT_S = 10;
const WIDTH = 24;
const STALLS_MS = 30_000;
/** 19,000 devices take 2 to 4 minutes. */
const CONNECT_MS = 900_000;
/** Above the public ports and the private ones of a stack. */
const EDGE_PORT = 33_000;

enterNamespace();
const dir = mkdtempSync(join(tmpdir(), 'culvert-bench-idle-'));
const hook = new URL('./idle/stalls.ts', import.meta.url);
const stack = await startStack({
  env: {
    CULVERT_REPLICAS: `ws-ingress=${ingresses}`,
    CULVERT_PORT: String(EDGE_PORT),
    CULVERT_TCP_PORTS: ownPorts(most),
    CULVERT_HEARTBEAT: `${HEARTBEAT_S}s`,
    CULVERT_LOG_LEVEL: 'warn',
    NODE_OPTIONS: `--import=${hook}?${encodeURIComponent(dir)}`,
  },
});
const redis = new Redis(stack.info.redis.address);
const more = await startMore(stack, Math.ceil(most / PORTS_EACH) - 1);
const pidsOf = (name: string): number[] => stack.info.services.filter((one) => one.name === name).map(({ pid }) => pid);

async function addressOf(id: string): Promise<number> {
  const { address } = JSON.parse((await redis.get(`instance:${id}`)) ?? '{}') as { address: string };
  return Number(address.split(':').at(-1));
}

async function until(ms: number, probe: () => boolean, what: string): Promise<void> {
  const end = performance.now() + ms;
  while (!probe()) {
    if (performance.now() > end) throw new Error(`not within ${ms / 1000} s: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}

/** How late the event loops of these processes were, at most, since the last call. */
async function stallsOf(pids: readonly number[]): Promise<Stalls> {
  const all: Stalls[] = [];
  for (const pid of pids) {
    const file = join(dir, `${pid}.stalls`);
    rmSync(file, { force: true });
    process.kill(pid, 'SIGUSR2');
    await until(STALLS_MS, () => existsSync(file), `process ${pid} says how late its event loop was`);
    all.push(JSON.parse(readFileSync(file, 'utf8')) as Stalls);
  }
  const most = (pick: (stalls: Stalls) => number): number => Math.max(...all.map(pick));
  return {
    maxMs: most(({ maxMs }) => maxMs),
    p99Ms: most(({ p99Ms }) => p99Ms),
    heapMib: all.reduce((sum, { heapMib }) => sum + heapMib, 0),
  };
}

/** On a machine this busy the API may close a connection just when the next request is sent; then another name is taken. */
async function add(name: string, attempts = 5): Promise<Batch['devices'][number]> {
  try {
    return { name, token: await stack.addDevice(name) };
  } catch (error) {
    if (attempts === 1) throw error;
    return add(`${name}-${attempts}`, attempts - 1);
  }
}

async function register(from: number, to: number): Promise<Batch['devices']> {
  const devices: Batch['devices'] = [];
  let next = from;
  const lane = async (): Promise<void> => {
    while (next < to) {
      const name = `idle-${next++}`;
      devices.push(await add(name));
    }
  };
  await Promise.all(Array.from({ length: 32 }, lane));
  return devices;
}

const crowds: { child: ChildProcess; progress: Progress }[] = [];

/** Connects them, spread over the ingresses; resolves with seconds. */
async function connect(devices: Batch['devices']): Promise<number> {
  const started: typeof crowds = [];
  const at = performance.now();
  for (let from = 0, index = 0; from < devices.length; from += DEVICES_EACH, index += 1) {
    const port = await addressOf(`ws-ingress-${(index % ingresses) + 1}`);
    const child = fork(new URL('./idle/devices.ts', import.meta.url), { execArgv: [] });
    const crowd = { child, progress: { ready: 0, lost: 0, why: '', done: false } };
    child.on('message', (progress: Progress) => Object.assign(crowd.progress, progress));
    child.send({ port, width: WIDTH, devices: devices.slice(from, from + DEVICES_EACH) } satisfies Batch);
    crowds.push(crowd);
    started.push(crowd);
  }
  await until(CONNECT_MS, () => started.every(({ progress }) => progress.done), `${devices.length} devices are connected`);
  return (performance.now() - at) / 1000;
}

const ingressPids = pidsOf('ws-ingress');
const listenerPids = [...pidsOf('tcp-listener'), ...more.map(({ pid }) => pid as number)];
const kib = (now: number, before: number, count: number): number => ((now - before) * 1024) / Math.max(1, count);
const rows: IdleRow[] = [];
try {
  await new Promise((done) => setTimeout(done, 2_000));
  await stallsOf(ingressPids);
  const base = { ingress: residentMib(ingressPids), listener: residentMib(listenerPids) };
  await new Promise((done) => setTimeout(done, watchMs));
  const quiet = await stallsOf(ingressPids);
  console.log(
    `ws-ingress x ${ingresses} without devices: ${base.ingress.toFixed(0)} MiB; event loop late by ${quiet.maxMs.toFixed(0)} ms` +
      ` at most (p99 ${quiet.p99Ms.toFixed(1)} ms): this machine's own noise`,
  );
  const heapBefore = quiet.heapMib;
  let there = 0;
  for (const step of steps) {
    const fresh = await register(there, step);
    const seconds = await connect(fresh);
    await new Promise((done) => setTimeout(done, 3_000));
    await stallsOf(ingressPids);
    const before = cpuSeconds(ingressPids);
    await new Promise((done) => setTimeout(done, watchMs));
    const cpu = ((cpuSeconds(ingressPids) - before) * 1e5) / watchMs;
    const stalls = await stallsOf(ingressPids);
    const ready = crowds.reduce((sum, { progress }) => sum + progress.ready, 0);
    const lost = crowds.reduce((sum, { progress }) => sum + progress.lost, 0);
    const why = crowds.find(({ progress }) => progress.lost > 0)?.progress.why;
    if (why !== undefined) console.log(`lost: ${why}`);
    rows.push({
      ...{ devices: ready, ingresses, setUpPerSecond: fresh.length / seconds },
      kibPerDevice: kib(residentMib(ingressPids), base.ingress, ready),
      heapKibPerDevice: kib(stalls.heapMib, heapBefore, ready),
      ...{ latestMs: stalls.maxMs, p99Ms: stalls.p99Ms, alonePeakMs: quiet.maxMs, cpuPercent: cpu },
      kibPerPort: kib(residentMib(listenerPids), base.listener, ready),
      ...{ lost, at: new Date().toISOString() },
    });
    console.log(table(rows.slice(-1)));
    await save(rows, new URL('../../', import.meta.url));
    there = step;
  }
} finally {
  for (const { child } of crowds) child.disconnect();
  redis.disconnect();
  for (const listener of more) listener.kill('SIGKILL'); // to wind down would take as long as its devices take to go elsewhere
  await stack.stop();
  rmSync(dir, { recursive: true, force: true });
}
