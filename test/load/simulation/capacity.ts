/** docs/capacity.json, what was measured, and the table of docs/CAPACITY.md that follows from it. */
import { readFile, writeFile } from 'node:fs/promises';
import { putInto } from '../report.ts';
import { costs, type LoadRun, show } from '../summary.ts';
import type { SimulationRun } from './simulation.ts';

export const FIGURES = new URL('../../../docs/capacity.json', import.meta.url);
export const PAGE = new URL('../../../docs/CAPACITY.md', import.meta.url);

/** Per service, as `npm run load` measured them. */
interface ServiceCost {
  kibADevice: number;
  /** Of a core, with one connected device that does nothing. */
  idleMicrosASecond: number;
  connectMs: number;
  visitMs: number;
}

export interface CapacityFigures {
  load?: { devices: number; services: Record<string, ServiceCost> };
  simulation?: {
    leases: number;
    registryBytes: number;
    leaseBytes: number;
    acquireMicros: number;
    restoreMicros: number;
    releaseMicros: number;
    eventsPerConnect: number;
    eventsPerLoss: number;
    relayedPerSecond: number;
    eventBytes: number;
    restartSeconds: number;
  };
}

const SIZES = [1_000, 10_000, 100_000, 1_000_000] as const;
/** What an instance is planned for: less than LimitNOFILE=65536, less than the ports from 10000 to 59999. */
const DEVICES_EACH = 50_000;
/** A connection by the edge is two of its files; LimitNOFILE=131072 of its unit, with a half left for visitors. */
const EDGE_EACH = 32_000;
/** All are to be back within so long when every link broke at once. */
const BACK_S = 600;
const EVENTS_DAYS = 7;
/** How often a device comes and goes a day. */
const CONNECTS_A_DAY = 4;

export function loadFigures(run: LoadRun): NonNullable<CapacityFigures['load']> {
  const { devices } = run.options;
  const services = costs(run).map(({ name, kibADevice, idlePercent, connectMs, visitMs }): [string, ServiceCost] => [
    name,
    { kibADevice, idleMicrosASecond: (idlePercent * 1e4) / devices, connectMs, visitMs },
  ]);
  return { devices, services: Object.fromEntries(services) };
}

export function simulationFigures(run: SimulationRun): NonNullable<CapacityFigures['simulation']> {
  const last = run.steps.at(-1);
  if (last === undefined) throw new Error('the simulation has no step');
  return {
    leases: last.leases,
    registryBytes: run.registryBytes,
    leaseBytes: last.leaseBytes,
    acquireMicros: last.acquired.redisMicros,
    restoreMicros: last.restored.redisMicros,
    releaseMicros: last.released.redisMicros + last.advanced.redisMicros,
    eventsPerConnect: last.eventsPerAcquire,
    eventsPerLoss: last.eventsPerLoss,
    relayedPerSecond: run.relayed.perSecond,
    eventBytes: run.relayed.bytes,
    restartSeconds: (run.restart.seconds * last.leases) / run.restart.leases,
  };
}

const SERVICES = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'nats', 'redis'] as const;

/** One row for each thing that grows: where it comes from, and what it is at each size. */
export function capacityTable({ load, simulation }: CapacityFigures): string {
  if (load === undefined || simulation === undefined) return 'Neither measured nor simulated yet.';
  const cost = (name: string): ServiceCost =>
    load.services[name] ?? { kibADevice: Number.NaN, idleMicrosASecond: Number.NaN, connectMs: Number.NaN, visitMs: Number.NaN };
  const { leaseBytes, registryBytes, restoreMicros, eventsPerConnect, eventsPerLoss, relayedPerSecond, eventBytes } = simulation;
  const gib = (bytes: number): string => `${show(bytes / 2 ** 30)} GiB`;
  const instances =
    (each: number) =>
    (n: number): string =>
      show(Math.ceil(n / each));
  const memory = (name: string): [string, string, (n: number) => string] => [
    `memory of all ${name}`,
    `N × ${show(cost(name).kibADevice)} KiB`,
    (n) => gib(n * cost(name).kibADevice * 1024),
  ];
  const back = (name: string): [string, string, (n: number) => string] => [
    `cores of ${name} while all come back in ${BACK_S / 60} min`,
    `N × ${show(cost(name).connectMs)} ms ÷ ${BACK_S} s`,
    (n) => show((n * cost(name).connectMs) / 1000 / BACK_S),
  ];
  const idle = SERVICES.reduce((sum, name) => sum + Math.max(0, cost(name).idleMicrosASecond), 0);
  const eventsADay = CONNECTS_A_DAY * (eventsPerConnect + eventsPerLoss);
  const rows: [string, string, (n: number) => string][] = [
    ['ws-ingress instances', `N ÷ ${show(DEVICES_EACH)}, two at least`, (n) => show(Math.max(2, Math.ceil(n / DEVICES_EACH)))],
    memory('ws-ingress'),
    ['tcp-listener instances, an address each', `N endpoints ÷ ${show(DEVICES_EACH)} ports`, instances(DEVICES_EACH)],
    memory('tcp-listener'),
    ['edges', `N ÷ ${show(EDGE_EACH)}, two at least`, (n) => show(Math.max(2, Math.ceil(n / EDGE_EACH)))],
    [
      'Redis: memory',
      `N × (${show(registryBytes)} + ${show(leaseBytes)}) B, twice that to rewrite its file`,
      (n) => gib(n * (registryBytes + leaseBytes)),
    ],
    ['CPU of everything with all idle, cores', `N × ${show(idle)} µs a second`, (n) => show((n * idle) / 1e6)],
    ...SERVICES.map(back),
    [
      'events of such a storm reach NATS after',
      `N × (${show(eventsPerConnect)} + ${show(eventsPerLoss)}) ÷ ${show(relayedPerSecond)} a second`,
      (n) => `${show((n * (eventsPerConnect + eventsPerLoss)) / relayedPerSecond)} s`,
    ],
    [
      `disk of NATS for ${EVENTS_DAYS} days of events`,
      `N × ${CONNECTS_A_DAY} connects a day × ${show(eventsPerConnect + eventsPerLoss)} × ${show(eventBytes)} B × ${EVENTS_DAYS}`,
      (n) => gib(n * eventsADay * eventBytes * EVENTS_DAYS),
    ],
    [
      'an emptied Redis is full again, for its own part, after',
      `10 s + N × ${show(restoreMicros)} µs`,
      (n) => `${show(10 + (n * restoreMicros) / 1e6)} s`,
    ],
    [
      'Redis starts again in',
      `N × ${show((simulation.restartSeconds * 1e6) / simulation.leases)} µs`,
      (n) => `${show((simulation.restartSeconds * n) / simulation.leases)} s`,
    ],
  ];
  const head = `| | from | ${SIZES.map((n) => n.toLocaleString('en')).join(' | ')} |\n| --- | --- |${' ---: |'.repeat(SIZES.length)}`;
  return [head, ...rows.map(([name, from, at]) => `| ${name} | ${from} | ${SIZES.map(at).join(' | ')} |`)].join('\n');
}

export async function readFigures(): Promise<CapacityFigures> {
  return JSON.parse(await readFile(FIGURES, 'utf8').catch(() => '{}')) as CapacityFigures;
}

/** Puts new figures beside those that are known, and writes the table anew. */
export async function saveFigures(more: CapacityFigures): Promise<void> {
  const figures = { ...(await readFigures()), ...more };
  const short = (_: string, value: unknown): unknown => (typeof value === 'number' ? Number(value.toPrecision(4)) : value);
  const text = `${JSON.stringify(figures, short, 2)}\n`;
  await writeFile(FIGURES, text);
  await putInto(PAGE, 'capacity', capacityTable(JSON.parse(text) as CapacityFigures));
}
