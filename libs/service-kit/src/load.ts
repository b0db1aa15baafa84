import { performance } from 'node:perf_hooks';

/** How busy a process was since it was measured last. */
export interface InstanceLoad {
  /** Milliseconds since 1970. */
  at: number;
  /** Share of one core; above 1 when other threads of the process worked as well. */
  cpu: number;
  /** Share of the time in which the event loop had work. */
  loop: number;
  /** Resident memory, bytes. */
  memory: number;
  /** What the service holds, such as control connections. */
  counts: Readonly<Record<string, number>>;
}

/** Measures this process from one call to the next; whoever asks, asks alone. */
export class LoadMeter {
  #cpu = process.cpuUsage();
  #loop = performance.eventLoopUtilization();
  #at = performance.now();

  take(counts: Readonly<Record<string, number>>): InstanceLoad {
    const now = performance.now();
    const cpu = process.cpuUsage(this.#cpu);
    const loop = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(loop, this.#loop);
    const passed = Math.max(1, now - this.#at);
    this.#cpu = process.cpuUsage();
    this.#loop = loop;
    this.#at = now;
    return {
      at: Date.now(),
      cpu: round((cpu.user + cpu.system) / 1000 / passed),
      loop: round(Number.isFinite(utilization) ? utilization : 0),
      memory: process.memoryUsage.rss(),
      counts,
    };
  }
}

const round = (share: number): number => Math.round(share * 1000) / 1000;
