import type { Path } from './drivers/driver.ts';
import { cpuSeconds, median, percentile, residentMib } from './figures.ts';
import { download, freshVisitors, pingPong, upload } from './visitor.ts';

/** How much is done in one measurement; `quick` is for trying the benchmark itself. */
export interface Sizes {
  rounds: number;
  bytes: number;
  widths: readonly number[];
  pings: number;
  freshMs: number;
}

export const FULL: Sizes = { rounds: 5, bytes: 512e6, widths: [1, 8, 64], pings: 2_000, freshMs: 3_000 };
export const QUICK: Sizes = { rounds: 1, bytes: 64e6, widths: [1, 8], pings: 300, freshMs: 500 };

/** One figure of one round: rows are averaged by median over the rounds. */
export type Figures = Record<string, number>;

async function bulk(
  path: Path,
  width: number,
  bytes: number,
  run: (port: number, bytes: number) => Promise<number>,
): Promise<{ mbps: number; cpu: number }> {
  const each = Math.floor(bytes / width);
  const cpuBefore = cpuSeconds(path.pids);
  const at = performance.now();
  const moved = await Promise.all(Array.from({ length: width }, () => run(path.port, each)));
  const seconds = (performance.now() - at) / 1000;
  const total = moved.reduce((sum, one) => sum + one, 0);
  if (total !== each * width) throw new Error(`${total} bytes arrived instead of ${each * width}`);
  return { mbps: total / 1e6 / seconds, cpu: (cpuSeconds(path.pids) - cpuBefore) / (total / 1e9) };
}

/** All figures of one path in one round. D is device to visitor, U the other way. */
export async function measure(path: Path, sizes: Sizes): Promise<Figures> {
  const figures: Figures = {};
  for (const width of sizes.widths) {
    for (const [letter, run] of [
      ['D', download],
      ['U', upload],
    ] as const) {
      const { mbps, cpu } = await bulk(path, width, sizes.bytes, run);
      figures[`${width} ${letter}: MB/s`] = mbps;
      if (path.pids.length > 0) figures[`${width} ${letter}: CPU-s/GB`] = cpu;
    }
  }
  const alone = await pingPong(path.port, sizes.pings);
  figures['200 B round trip, alone: p50 us'] = median(alone);
  figures['200 B round trip, alone: p99 us'] = percentile(alone, 0.99);
  figures['200 B round trip, alone: p99.9 us'] = percentile(alone, 0.999);
  figures['200 B round trips a second, one visitor'] = 1e6 / (alone.reduce((sum, one) => sum + one, 0) / alone.length);

  // A bulk transfer that is cut off once the small ones are through: long enough for any path.
  let busy = true;
  const besides = (async () => {
    while (busy) await download(path.port, sizes.bytes);
  })();
  const beside = await pingPong(path.port, Math.max(100, Math.floor(sizes.pings / 4)));
  busy = false;
  await besides;
  figures['200 B round trip, beside bulk: p50 us'] = median(beside);
  figures['200 B round trip, beside bulk: p99 us'] = percentile(beside, 0.99);

  const single = await freshVisitors(path.port, 1, sizes.freshMs / 2);
  figures['new visitor to answer: p50 us'] = median(single.times);
  figures['new visitor to answer: p99 us'] = percentile(single.times, 0.99);
  const cpuBefore = cpuSeconds(path.pids);
  const many = await freshVisitors(path.port, 32, sizes.freshMs);
  figures['new visitors a second, 32 at a time'] = many.perSecond;
  if (path.pids.length > 0) figures['CPU us a new visitor'] = ((cpuSeconds(path.pids) - cpuBefore) * 1e6) / many.times.length;
  if (path.pids.length > 0) figures['resident memory after it all, MiB'] = residentMib(path.pids);
  return figures;
}
