import { readdirSync, readFileSync } from 'node:fs';

/** User and system seconds that the processes have used so far, to the microsecond. One that is gone counts as 0. */
export function cpuSeconds(pids: readonly number[]): number {
  let nanoseconds = 0;
  for (const pid of pids) {
    try {
      for (const thread of readdirSync(`/proc/${pid}/task`)) {
        nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1').split(' ')[0]);
      }
    } catch {
      // gone: its share is lost, which shows as a figure that is too good; drivers keep their processes alive
    }
  }
  return nanoseconds / 1e9;
}

/** Resident memory in MiB. */
export function residentMib(pids: readonly number[]): number {
  let pages = 0;
  for (const pid of pids) pages += Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
  return (pages * 4096) / 2 ** 20;
}

export function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => percentile(values, 0.5);
