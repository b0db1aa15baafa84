/**
 * Loaded into a process by `--import=<this file>?<folder>`: every SIGUSR2 writes how late its event loop has been since the
 * last one to <folder>/<pid>.stalls.
 */
import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';

export interface Stalls {
  maxMs: number;
  p99Ms: number;
  heapMib: number;
}

const RESOLUTION_MS = 5;
const dir = decodeURIComponent(new URL(import.meta.url).search.slice(1));
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();

process.on('SIGUSR2', () => {
  const late = (nanoseconds: number): number => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  const stalls: Stalls = {
    maxMs: late(delay.max),
    p99Ms: late(delay.percentile(99)),
    heapMib: process.memoryUsage().heapUsed / 2 ** 20,
  };
  const file = join(dir, `${process.pid}.stalls`);
  writeFileSync(`${file}.part`, JSON.stringify(stalls));
  renameSync(`${file}.part`, file);
  delay.reset();
});
