import { type ChildProcess, fork } from 'node:child_process';
import { Redis } from 'ioredis';
import { percentile } from '../bench/figures.ts';
import { UNBOUNDED } from '../bench/processes.ts';
import { machine } from '../bench/report.ts';
import { registerDevices } from '../harness/registration.ts';
import { type Stack, startStack } from '../harness/system.ts';
import type { LoadOptions } from './options.ts';
import { Sampler } from './sampler.ts';
import type { LoadRun, Phase, PhaseName, Second } from './summary.ts';
import type { CrowdPlan, CrowdProgress, ToCrowd, ToVisitors, VisitorsReport } from './words.ts';

const SPARE_PORTS = 100;
/** Longer than a storm of the largest fleet that fits one machine. */
const STORM_MS = 600_000;
const FORK_MS = 30_000;
/** No visitor waits longer than half of it. */
const VISITORS_END_MS = 60_000;

interface Crowd {
  child: ChildProcess;
  progress: CrowdProgress;
}

/**
 * One load, from an empty stack to its figures:
 *
 *   register -> connect (all at once) -> idle -> visitors -> storm (all links cut) -> idle again
 *
 * Every second is sampled. What a device or a visitor meets is counted by why; nothing is tried again on the visitors' behalf.
 */
export class Load {
  readonly #options: LoadOptions;
  readonly #tell: (text: string) => void;
  readonly #startedAt = performance.now();
  readonly #seconds: Second[] = [];
  readonly #phases: Phase[] = [];
  readonly #crowds: Crowd[] = [];
  readonly #visitors: ChildProcess[] = [];
  #window = emptyWindow();
  /** Visitors inside, as they said last. */
  #open = 0;
  #phase: Phase | undefined;
  #sampler: Sampler | undefined;

  private constructor(options: LoadOptions, tell: (text: string) => void) {
    this.#options = options;
    this.#tell = tell;
  }

  static async run(options: LoadOptions, tell: (text: string) => void): Promise<LoadRun> {
    const load = new Load(options, tell);
    const stack = await startStack({
      env: { ...UNBOUNDED, CULVERT_LOG_LEVEL: 'warn', CULVERT_HEARTBEAT: `${options.heartbeatS}s`, ...options.env },
      ...(options.env.CULVERT_TCP_PORTS === undefined ? { tcpPorts: options.devices + SPARE_PORTS } : {}),
    });
    try {
      return await load.#through(stack);
    } finally {
      for (const { child } of load.#crowds) child.disconnect();
      for (const child of load.#visitors) child.disconnect();
      await load.#sampler?.stop();
      await stack.stop();
    }
  }

  async #through(stack: Stack): Promise<LoadRun> {
    const { devices, idleS, visitorsS, rate, storm } = this.#options;
    const named = await this.#register(stack);
    this.#sampler = await Sampler.start(stack.info, () =>
      [...this.#crowds.map(({ child }) => child), ...this.#visitors].flatMap(({ pid }) => pid ?? []),
    );
    await this.#during('empty', () => this.#for(this.#options.emptyS));
    await this.#startVisitors(stack);
    await this.#during('connect', async () => {
      await this.#startCrowds(stack, named);
      await this.#until(() => this.#ready === devices, this.#options.connectS * 1000);
    });
    await this.#during('idle', () => this.#for(idleS));
    await this.#during('visitors', async () => {
      this.#tellVisitors({ kind: 'rate', perSecond: rate / this.#visitors.length });
      await this.#for(visitorsS);
      this.#open = Number.POSITIVE_INFINITY; // until they have said otherwise
      this.#tellVisitors({ kind: 'rate', perSecond: 0 });
      await this.#until(() => this.#open === 0, VISITORS_END_MS);
    });
    if (storm) {
      await this.#during('storm', async () => {
        for (const { child } of this.#crowds) child.send({ kind: 'drop' } satisfies ToCrowd);
        await this.#until(() => this.#ready < devices, STORM_MS);
        await this.#until(() => this.#ready === devices, STORM_MS);
      });
      await this.#during('after', () => this.#for(this.#options.emptyS));
    }
    return {
      at: new Date().toISOString(),
      machine: machine(),
      options: this.#options,
      phases: this.#phases,
      seconds: this.#seconds,
    };
  }

  get #ready(): number {
    return this.#crowds.reduce((sum, { progress }) => sum + progress.ready, 0);
  }

  async #during(name: PhaseName, work: () => Promise<void>): Promise<void> {
    const phase: Phase = {
      ...{ name, from: this.#at(), to: 0, ready: 0, readyP50Ms: null, readyP99Ms: null, refusals: {}, lost: 0, dials: 0 },
      ...{ served: 0, failures: {}, skipped: 0, httpMs: [], tcpMs: [] },
    };
    const before = { lost: this.#sum('lost'), dials: this.#sum('dials'), refusals: this.#refusals() };
    this.#phase = phase;
    const readyMs: number[] = [];
    this.#onReadyMs = (list) => readyMs.push(...list);
    await work();
    phase.to = this.#at();
    phase.ready = this.#ready;
    if (readyMs.length > 0) {
      phase.readyP50Ms = percentile(readyMs, 0.5);
      phase.readyP99Ms = percentile(readyMs, 0.99);
    }
    phase.lost = this.#sum('lost') - before.lost;
    phase.dials = this.#sum('dials') - before.dials;
    for (const [why, count] of Object.entries(this.#refusals())) {
      const more = count - (before.refusals[why] ?? 0);
      if (more > 0) phase.refusals[why] = more;
    }
    this.#phases.push(phase);
    const failed = Object.entries(phase.failures).map(([why, count]) => `${count} × ${why}`);
    this.#tell(
      `${name}: ${(phase.to - phase.from).toFixed(1)} s, ${phase.ready} devices ready` +
        (phase.served > 0 || failed.length > 0
          ? `, ${phase.served} visitors served, failed: ${failed.join(', ') || 'none'}`
          : '') +
        (Object.keys(phase.refusals).length > 0 ? `, refused: ${JSON.stringify(phase.refusals)}` : ''),
    );
  }

  #onReadyMs: (list: readonly number[]) => void = () => {};

  #at(): number {
    return (performance.now() - this.#startedAt) / 1000;
  }

  #sum(what: 'lost' | 'dials'): number {
    return this.#crowds.reduce((sum, { progress }) => sum + progress[what], 0);
  }

  #refusals(): Record<string, number> {
    const all: Record<string, number> = {};
    for (const { progress } of this.#crowds) {
      for (const [why, count] of Object.entries(progress.refusals)) all[why] = (all[why] ?? 0) + count;
    }
    return all;
  }

  /** Samples once a second until then. */
  async #for(seconds: number): Promise<void> {
    const until = performance.now() + seconds * 1000;
    await this.#until(() => performance.now() >= until, seconds * 1000 + 60_000);
  }

  async #until(done: () => boolean, ms: number): Promise<void> {
    const until = performance.now() + ms;
    let nextSample = performance.now() + 1_000;
    while (!done()) {
      if (performance.now() > until) {
        const refused = JSON.stringify(this.#refusals());
        throw new Error(
          `${this.#phase?.name} takes longer than ${ms / 1000} s: ${this.#ready} devices are ready; refused: ${refused}`,
        );
      }
      await new Promise((wake) => setTimeout(wake, 50));
      if (performance.now() < nextSample) continue;
      nextSample += 1_000;
      await this.#sample();
    }
  }

  async #sample(): Promise<void> {
    const sampler = this.#sampler;
    if (sampler === undefined) return;
    const window = this.#window;
    this.#window = emptyWindow();
    const failed = Object.values(window.failures).reduce((sum, count) => sum + count, 0);
    this.#seconds.push({
      ...(await sampler.sample(Math.round(this.#at() * 10) / 10)),
      ready: this.#ready,
      served: window.httpMs.length + window.tcpMs.length,
      failed,
      httpP50Ms: window.httpMs.length === 0 ? null : percentile(window.httpMs, 0.5),
      httpP99Ms: window.httpMs.length === 0 ? null : percentile(window.httpMs, 0.99),
      tcpP50Ms: window.tcpMs.length === 0 ? null : percentile(window.tcpMs, 0.5),
      tcpP99Ms: window.tcpMs.length === 0 ? null : percentile(window.tcpMs, 0.99),
    });
  }

  async #register({ info }: Stack): Promise<CrowdPlan['devices']> {
    const startedAt = performance.now();
    const names = Array.from({ length: this.#options.devices }, (_, at) => `load-${at}`);
    const tokens = await registerDevices(info, names);
    this.#tell(`${names.length} devices registered in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
    return names.map((name, at) => ({ name, token: tokens[at] ?? '', ports: at % 2 === 0 ? '80' : 'tcp:9' }));
  }

  async #startCrowds(stack: Stack, named: CrowdPlan['devices']): Promise<void> {
    const edge = Number(new URL(stack.info.edge).port);
    const control = this.#options.by === 'edge' ? [edge] : await ingressPorts(stack);
    const { crowds } = this.#options;
    const size = Math.ceil(named.length / crowds);
    for (let first = 0; first < named.length; first += size) {
      const child = fork(new URL('./crowd.ts', import.meta.url), { execArgv: ['--max-semi-space-size=2'] });
      const crowd: Crowd = {
        child,
        progress: { kind: 'progress', ready: 0, lost: 0, refusals: {}, dials: 0, readyMs: [], places: [] },
      };
      child.on('message', (progress: CrowdProgress) => {
        crowd.progress = progress;
        this.#onReadyMs(progress.readyMs);
        if (progress.places.length > 0) this.#tellVisitors({ kind: 'places', places: progress.places });
      });
      child.on('exit', (code) => {
        if (code !== 0) crowd.progress = { ...crowd.progress, ready: 0, refusals: { [`a crowd ended with ${code}`]: 1 } };
      });
      this.#crowds.push(crowd);
      const devices = named.slice(first, first + size);
      child.send({
        kind: 'crowd',
        first,
        devices,
        control,
        edge,
        width: Math.ceil(this.#options.width / crowds),
      } satisfies ToCrowd);
    }
  }

  async #startVisitors(stack: Stack): Promise<void> {
    const child = fork(new URL('./visitors.ts', import.meta.url), { execArgv: [] });
    await new Promise<void>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the visitors do not start within ${FORK_MS} ms`)), FORK_MS);
      child.once('message', () => {
        clearTimeout(late);
        resolve();
      });
    });
    child.on('message', (report: VisitorsReport) => {
      const phase = this.#phase;
      this.#open = report.open;
      this.#window.httpMs.push(...report.httpMs);
      this.#window.tcpMs.push(...report.tcpMs);
      for (const [why, count] of Object.entries(report.failures)) {
        this.#window.failures[why] = (this.#window.failures[why] ?? 0) + count;
        if (phase !== undefined) phase.failures[why] = (phase.failures[why] ?? 0) + count;
      }
      if (phase === undefined) return;
      phase.served += report.httpMs.length + report.tcpMs.length;
      phase.skipped += report.skipped;
      phase.httpMs.push(...report.httpMs);
      phase.tcpMs.push(...report.tcpMs);
    });
    child.send({ kind: 'visitors', edge: Number(new URL(stack.info.edge).port) } satisfies ToVisitors);
    this.#visitors.push(child);
  }

  #tellVisitors(message: ToVisitors): void {
    for (const child of this.#visitors) if (child.connected) child.send(message);
  }
}

const emptyWindow = () => ({ httpMs: [] as number[], tcpMs: [] as number[], failures: {} as Record<string, number> });

/** Where control connections are taken past the edge. */
export async function ingressPorts({ info }: Stack): Promise<number[]> {
  const redis = new Redis(info.redis.address);
  try {
    const ids = info.services.filter(({ name }) => name === 'ws-ingress').map(({ id }) => `instance:${id}`);
    const records = await redis.mget(ids);
    return records.map((text) => Number((JSON.parse(text ?? '{}') as { address: string }).address.split(':').at(-1)));
  } finally {
    redis.disconnect();
  }
}
