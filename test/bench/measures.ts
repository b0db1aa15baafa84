import { fork } from 'node:child_process';
import type { Path } from './drivers/driver.ts';
import { cpuSeconds, median, percentile, residentMib } from './figures.ts';
import { hurry } from './hurry.ts';
import { download, freshVisitor, freshVisitors, pingPong, requests, stalledVisitors, upload } from './visitor.ts';

/** How much is done in one measurement; `quick` is for trying the benchmark itself. */
export interface Sizes {
  rounds: number;
  bytes: number;
  widths: readonly number[];
  pings: number;
  freshMs: number;
  besideMs: number;
  stalled: number;
  /** Groups of figures; all of them in a run that counts. */
  groups: readonly Group[];
}

export const GROUPS = ['bulk', 'small', 'fresh', 'http', 'stalled'] as const;
export type Group = (typeof GROUPS)[number];

/** At least so many visitors come by each other way. */
const WAY_VISITORS = 20;

/** Of one transfer: less, and it is the set-up of connections that is measured. */
const LEAST_BYTES = 8e6;

export const FULL: Sizes = {
  ...{ rounds: 5, bytes: 512e6, widths: [1, 8, 64], pings: 1_500 },
  ...{ freshMs: 1_000, besideMs: 1_000, stalled: 100, groups: GROUPS },
};
/**
 * For compilers: figures of code that runs for the first seconds say little. V8 has done what it does for new visitors after 10 s
 * of them, 32 at a time (plain Node: after 6 s), and for small requests after 10,000.
 */
export const WARM_UP: Sizes = {
  ...{ rounds: 1, bytes: 64e6, widths: [1, 8], pings: 10_000 },
  ...{ freshMs: 8_000, besideMs: 150, stalled: 10, groups: GROUPS },
};
/** Before each turn: an alternative that has stood still for a minute or two, while others had theirs, is slow for a moment. */
export const RUN_IN: Sizes = {
  ...{ rounds: 1, bytes: 64e6, widths: [1, 8], pings: 500 },
  ...{ freshMs: 600, besideMs: 100, stalled: 0, groups: ['bulk', 'small', 'fresh', 'http'] },
};
export const QUICK: Sizes = {
  ...{ rounds: 1, bytes: 32e6, widths: [1, 8], pings: 100 },
  ...{ freshMs: 150, besideMs: 150, stalled: 10, groups: GROUPS },
};

/** One figure of one round: rows are averaged by median over the rounds. */
export type Figures = Record<string, number>;

const partsOf = (path: Path): [string, readonly number[]][] => Object.entries(path.parts);
const cpuOf = (path: Path): Map<string, number> => new Map(partsOf(path).map(([part, pids]) => [part, cpuSeconds(pids)]));

/** CPU of every part since `before`, and of all, in units of `unit`. */
function addCpu(figures: Figures, row: string, path: Path, before: Map<string, number>, unit: number): void {
  if (before.size === 0) return;
  let all = 0;
  for (const [part, pids] of partsOf(path)) {
    const used = (cpuSeconds(pids) - (before.get(part) ?? 0)) / unit;
    all += used;
    if (before.size > 1) figures[`${row}, ${part}`] = used;
  }
  figures[row] = all;
}

async function bulk(figures: Figures, path: Path, width: number, bytes: number, letter: 'D' | 'U'): Promise<void> {
  const each = Math.max(LEAST_BYTES, Math.floor(bytes / width));
  const run = letter === 'D' ? download : upload;
  const before = cpuOf(path);
  const at = performance.now();
  const moved = await Promise.all(
    Array.from({ length: width }, (_, index) => run(path.ports[index % path.ports.length] as number, each)),
  );
  const seconds = (performance.now() - at) / 1000;
  const total = moved.reduce((sum, one) => sum + one, 0);
  if (total !== each * width) throw new Error(`${total} bytes arrived instead of ${each * width}`);
  figures[`${width} ${letter}: MB/s`] = total / 1e6 / seconds;
  addCpu(figures, `${width} ${letter}: CPU-s/GB`, path, before, total / 1e9);
}

/** Small requests on a kept connection, first alone, then beside one visitor who downloads without a pause. */
async function small(figures: Figures, path: Path, sizes: Sizes): Promise<void> {
  const port = path.ports[0] as number;
  hurry();
  const alone = await pingPong(port, (done) => done < sizes.pings);
  figures['200 B round trip, alone: p50 us'] = median(alone);
  figures['200 B round trip, alone: p99 us'] = percentile(alone, 0.99);
  figures['200 B round trip, alone: p99.9 us'] = percentile(alone, 0.999);
  figures['200 B round trips a second, one visitor'] = 1e6 / (alone.reduce((sum, one) => sum + one, 0) / alone.length);

  const solo = await flood(port, sizes.besideMs);
  let over = false;
  let pinging: Promise<number[]> | undefined;
  const shared = await flood(port, sizes.besideMs, () => {
    pinging = pingPong(port, () => !over);
  });
  over = true;
  const beside = (await pinging) ?? [];
  hurry(false);
  figures['200 B round trip, beside bulk: p50 us'] = median(beside);
  figures['200 B round trip, beside bulk: p99 us'] = percentile(beside, 0.99);
  figures['bulk beside round trips, of bulk alone'] = shared / solo;
}

/** MB/s of one endless download, over a window; in another process, so that it does not delay our own round trips. */
async function flood(port: number, ms: number, onFlow = (): void => {}): Promise<number> {
  const child = fork(new URL('./flood.ts', import.meta.url), [String(port), String(ms)], { execArgv: [] });
  return new Promise((resolve, reject) => {
    child.on('message', (message) => (message === 'flows' ? onFlow() : resolve(message as number)));
    child.once('exit', (code) => reject(new Error(`the flood of port ${port} exited with ${code}`)));
  });
}

async function newVisitors(figures: Figures, path: Path, sizes: Sizes): Promise<void> {
  const port = path.ports[0] as number;
  const single = await freshVisitors([port], 1, sizes.freshMs / 2);
  figures['new visitor to answer: p50 us'] = median(single.times);
  figures['new visitor to answer: p99 us'] = percentile(single.times, 0.99);
  for (const [way, other] of Object.entries(path.ways ?? {})) {
    const times: number[] = [];
    const until = performance.now() + sizes.freshMs / 2;
    while (times.length < WAY_VISITORS || (times.length < sizes.pings / 10 && performance.now() < until)) {
      times.push(await freshVisitor(other));
    }
    figures[`new visitor to answer, ${way}: p50 us`] = median(times);
  }
  const before = cpuOf(path);
  const many = await freshVisitors(path.ports, 32, sizes.freshMs);
  figures['new visitors a second, 32 at a time'] = many.perSecond;
  addCpu(figures, 'new visitor: CPU us', path, before, many.times.length / 1e6);
}

async function http(figures: Figures, path: Path, sizes: Sizes): Promise<void> {
  if (path.http === undefined) return;
  await requests(path.http, 32, sizes.freshMs / 10); // connections and transfers are there from here on
  const before = cpuOf(path);
  const { perSecond, times } = await requests(path.http, 32, sizes.freshMs);
  figures['HTTP requests a second, 32 kept connections'] = perSecond;
  figures['HTTP request, 32 kept connections: p50 us'] = median(times);
  figures['HTTP request, 32 kept connections: p99 us'] = percentile(times, 0.99);
  addCpu(figures, 'HTTP request: CPU us', path, before, times.length / 1e6);
  const one = await requests(path.http, 1, sizes.freshMs / 2);
  figures['HTTP request, one kept connection: p50 us'] = median(one.times);
}

/** Memory that visitors who read nothing of 100 MB cost, once it has stopped growing. */
async function stalled(figures: Figures, path: Path, sizes: Sizes): Promise<void> {
  const before = new Map(partsOf(path).map(([part, pids]) => [part, residentMib(pids)]));
  const end = stalledVisitors(path.ports, sizes.stalled);
  let last = -1;
  for (let look = 0; look < 12; look += 1) {
    await new Promise((done) => setTimeout(done, 250));
    const now = partsOf(path).reduce((sum, [, pids]) => sum + residentMib(pids), 0);
    if (Math.abs(now - last) < 0.5) break;
    last = now;
  }
  for (const [part, pids] of partsOf(path)) {
    figures[`${sizes.stalled} stalled visitors: MiB more, ${part}`] = residentMib(pids) - (before.get(part) ?? 0);
  }
  end();
}

/** All figures of one path in one round. D is device to visitor, U the other way. */
export async function measure(path: Path, sizes: Sizes): Promise<Figures> {
  const figures: Figures = {};
  const wants = (group: Group): boolean => path.ports.length > 0 && sizes.groups.includes(group);
  for (const width of wants('bulk') ? sizes.widths : []) {
    await bulk(figures, path, width, sizes.bytes, 'D');
    await bulk(figures, path, width, sizes.bytes, 'U');
  }
  if (wants('small')) await small(figures, path, sizes);
  if (wants('fresh')) await newVisitors(figures, path, sizes);
  if (sizes.groups.includes('http')) await http(figures, path, sizes);
  if (wants('stalled')) await stalled(figures, path, sizes);
  return figures;
}
