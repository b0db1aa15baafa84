import { statSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { LeaseStore } from '@culvert/lease-store';
import { Redis } from 'ioredis';
import { machine } from '../../bench/report.ts';
import { type ServerProcess, startRedis } from '../../harness/servers.ts';
import {
  acquire,
  assertedOf,
  DEVICES_EACH,
  deviceOf,
  ingressOf,
  keptOf,
  listenerOf,
  RANGE,
  registerDevice,
  sped,
} from './fleet.ts';
import { type Relayed, relayAll } from './relaying.ts';
import { measure, redisFigures, type Work } from './work.ts';

/** How the store stood at one size. */
export interface Step {
  leases: number;
  /** Of Redis' memory, for each of the leases that were added in this step. */
  leaseBytes: number;
  /** Leases written again after a loss, as ingresses assert them. */
  restored: Work;
  /** New devices that come in, at that size. */
  acquired: Work;
  /** Devices whose ingress is gone, and what was due of them afterwards. */
  released: Work;
  advanced: Work;
  eventsPerAcquire: number;
  /** Written by the release and by the sweep after it. */
  eventsPerLoss: number;
  /** One look at what is due, while nothing is, and one judgement over all instances, in milliseconds. */
  dueMs: number;
  judgeMs: number;
}

export interface SimulationRun {
  at: string;
  machine: string;
  steps: Step[];
  /** Of Redis' memory, for each device of the registry and each free public port. */
  registryBytes: number;
  portBytes: number;
  registered: Work;
  relayed: Relayed;
  /** The append-only file of the largest step, rewritten, and a start from it. */
  restart: { leases: number; fileBytes: number; seconds: number };
}

const RESTART_MS = 600_000;
const SERVICES = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin'];

/** Leases, events and sweeps of fleets of these sizes against real scripts in a real Redis; no device and no socket. */
export async function simulate(sizes: readonly number[], probes: number, tell: (text: string) => void): Promise<SimulationRun> {
  const server = await startRedis({ readyMs: RESTART_MS });
  const redis = new Redis(server.url, { enableAutoPipelining: true });
  const at = { redis, pid: server.pid ?? 0 };
  const limits = sped(DEFAULT_LIMITS);
  const store = new LeaseStore(redis, limits);
  const most = Math.max(...sizes);
  try {
    await store.recovery.step();
    const empty = await redisFigures(redis);
    const registered = await measure(at, 0, most, (index) => store.recovery.load([keptOf(index)]));
    const registryBytes = ((await redisFigures(redis)).usedBytes - empty.usedBytes) / most;
    tell(`${most} devices of the registry loaded: ${Math.round(registered.perSecond)} a second`);
    await store.recovery.open(0, '');
    // Newcomers have listeners of their own: the ports of leases that are yet to be asserted must be free.
    const newcomers = Math.ceil(most / DEVICES_EACH) * DEVICES_EACH;
    const everybody = newcomers + sizes.length * (probes + 1);
    await announce(redis, everybody);
    const unported = (await redisFigures(redis)).usedBytes;
    for (let index = 0; index <= everybody; index += DEVICES_EACH) await store.ports.register(listenerOf(index), RANGE);
    const ports = DEVICES_EACH * (1 + Math.floor(everybody / DEVICES_EACH));
    const portBytes = ((await redisFigures(redis)).usedBytes - unported) / ports;

    const steps: Step[] = [];
    let relayed: Relayed | undefined;
    let there = 0;
    let spare = newcomers;
    for (const leases of sizes) {
      const before = (await redisFigures(redis)).usedBytes;
      const now = Date.now();
      const fresh = leases - there;
      const isLater = relayed !== undefined;
      const restored = await measure(at, there, fresh, async (index) => {
        const { verdict } = await store.leases.restore(assertedOf(index, now), 'ingress', '10.0.0.7');
        if (verdict !== 'restored') throw new Error(`restore of ${deviceOf(index)}: ${verdict}`);
        if (isLater && index % 10_000 === 0) await redis.xtrim('outbox', 'MAXLEN', '~', 1_000);
      });
      relayed ??= await relayAll(store, redis, limits);
      await redis.xtrim('outbox', 'MAXLEN', 0);
      const leaseBytes = ((await redisFigures(redis)).usedBytes - before) / fresh;
      there = leases;

      for (let index = spare; index <= spare + probes; index += 1) await registerDevice(store, index);
      await acquire(store, spare); // loads the scripts
      await redis.xtrim('outbox', 'MAXLEN', 0);
      const first = spare + 1;
      const acquired = await measure(at, first, probes, (index) => acquire(store, index));
      const eventsPerAcquire = (await redis.xlen('outbox')) / probes;
      const gone = new Set(Array.from({ length: probes + 1 }, (_, index) => `instance:${ingressOf(spare + index)}`));
      await redis.del(...gone);
      await release(store, spare);
      await redis.xtrim('outbox', 'MAXLEN', 0);
      const released = await measure(at, first, probes, (index) => release(store, index));
      await advance(store, spare);
      const advanced = await measure(at, first, probes, (index) => advance(store, index));
      const eventsPerLoss = ((await redis.xlen('outbox')) - 1) / probes; // but for the first one's
      await redis.xtrim('outbox', 'MAXLEN', 0);
      await announce(redis, everybody);
      const dueMs = await timed(() => store.leases.due(1_000));
      const judgeMs = await timed(() => store.instances.judge(SERVICES));
      spare += probes + 1;
      steps.push({ leases, leaseBytes, restored, acquired, released, advanced, eventsPerAcquire, eventsPerLoss, dueMs, judgeMs });
      tell(
        `${leases} leases: ${Math.round(leaseBytes)} B each; ${Math.round(restored.perSecond)} restored and ` +
          `${Math.round(acquired.perSecond)} acquired a second; ${Math.round(acquired.redisMicros)} µs of Redis an acquire`,
      );
    }
    if (relayed === undefined) throw new Error('no size was given');
    const restart = { leases: there, ...(await restartOf(server, redis)) };
    tell(`started again with ${there} leases: ${restart.seconds.toFixed(1)} s`);
    return { at: new Date().toISOString(), machine: machine(), steps, registryBytes, portBytes, registered, relayed, restart };
  } finally {
    redis.disconnect();
    await server.stop();
  }
}

async function release(store: LeaseStore, index: number): Promise<void> {
  const { lease } = await store.leases.get(deviceOf(index));
  const { verdict } = await store.leases.releaseGone(deviceOf(index), lease?.epoch ?? 0);
  if (verdict !== 'ok') throw new Error(`release of ${deviceOf(index)}: ${verdict}`);
}

async function advance(store: LeaseStore, index: number): Promise<void> {
  const { step } = await store.leases.advance(deviceOf(index));
  if (step !== 'grace') throw new Error(`advance of ${deviceOf(index)}: ${step}`);
}

/** Every ingress and listener of such a fleet lives. */
async function announce(redis: Redis, devices: number): Promise<void> {
  const started_at = Date.now();
  for (let index = 0; index <= devices; index += DEVICES_EACH) {
    const common = { incarnation: 'a1', state: 'live', started_at };
    const ingress = { id: ingressOf(index), service: 'ws-ingress', address: '10.0.0.6:8001', ...common };
    const listener = {
      id: listenerOf(index),
      service: 'tcp-listener',
      address: '10.0.0.7:8002',
      ...common,
      ports: RANGE,
      host: '10.0.0.7',
    };
    for (const record of [ingress, listener]) {
      await redis.set(`instance:${record.id}`, JSON.stringify(record), 'EX', 86_400);
      await redis.zadd(`instance:index:${record.service}`, 0, record.id);
    }
  }
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const startedAt = performance.now();
    await work();
    times.push(performance.now() - startedAt);
  }
  return times.sort((a, b) => a - b)[2] as number;
}

async function restartOf(server: ServerProcess, redis: Redis): Promise<{ fileBytes: number; seconds: number }> {
  await redis.bgrewriteaof();
  const until = performance.now() + RESTART_MS;
  while (/aof_rewrite_in_progress:1|aof_rewrite_scheduled:1/.test(await redis.info('persistence'))) {
    if (performance.now() > until) throw new Error(`the append-only file is not rewritten after ${RESTART_MS} ms`);
    await new Promise((done) => setTimeout(done, 100));
  }
  const folder = join(server.dir, 'appendonlydir');
  const files = await readdir(folder);
  const fileBytes = files.reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
  redis.disconnect();
  await server.kill();
  const startedAt = performance.now();
  await server.start();
  return { fileBytes, seconds: (performance.now() - startedAt) / 1000 };
}
