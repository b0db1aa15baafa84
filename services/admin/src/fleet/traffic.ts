import type { TcpVisitor, VisitorRequest, Visitors } from '../visitors.ts';

/** What came in one step of time. */
export interface Step {
  /** Requests at the edge. */
  requests: number;
  /** Visitors of tcp endpoints, counted when they come. */
  tcp: number;
  /** Of both, those that did not end well. */
  failed: number;
  /** Bytes from and to visitors, counted when a request or a visitor ends. */
  bytes_in: number;
  bytes_out: number;
}

/** Steps one after another, the oldest first; the last one is not over yet. */
export interface Series {
  /** When the first step began; milliseconds since 1970. */
  from: number;
  step_ms: number;
  steps: Step[];
}

export interface BusyDevice {
  device: string;
  visits: number;
  /** Requests and tcp visitors a minute, the oldest first. */
  minutes: number[];
}

const STEP_MS = 10_000;
const STEPS = 360; // an hour
const STEPS_A_MINUTE = 60_000 / STEP_MS;
/** Devices whose visits are remembered; the longest unvisited is forgotten. */
const MOST_DEVICES = 1_000;

type Steps = Map<number, Step>;
const empty = (): Step => ({ requests: 0, tcp: 0, failed: 0, bytes_in: 0, bytes_out: 0 });

/** How much is visited, of all and of each device, for the last hour and since this instance has started. Bounded; at most once. */
export class Traffic {
  readonly #all: Steps = new Map();
  readonly #devices = new Map<string, Steps>();
  readonly #now: () => number;
  #stops: (() => void)[] = [];

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  start(visitors: Pick<Visitors, 'follow' | 'followTcp'>): void {
    this.#stops = [visitors.follow((one) => this.addRequest(one)), visitors.followTcp((one, isNew) => this.addTcp(one, isNew))];
  }

  stop(): void {
    for (const stop of this.#stops) stop();
  }

  addRequest({ device, outcome, bytes_in, bytes_out }: VisitorRequest): void {
    this.#add(device, { requests: 1, tcp: 0, failed: outcome === 'ok' ? 0 : 1, bytes_in, bytes_out });
  }

  /** Told when a visitor comes, and again when it is over. */
  addTcp({ device, outcome, to_device, to_visitor }: TcpVisitor, isNew: boolean): void {
    const failed = outcome === null || outcome === 'ok' ? 0 : 1;
    this.#add(device, {
      ...{ requests: 0, tcp: isNew ? 1 : 0, failed },
      ...{ bytes_in: to_device ?? 0, bytes_out: to_visitor ?? 0 },
    });
  }

  /** Of one device, or of all. */
  series(device?: string): Series {
    const last = this.#step();
    const steps = device === undefined ? this.#all : this.#devices.get(device);
    const all: Step[] = [];
    for (let step = last - STEPS + 1; step <= last; step++) all.push(steps?.get(step) ?? empty());
    return { from: (last - STEPS + 1) * STEP_MS, step_ms: STEP_MS, steps: all };
  }

  /** Those with the most visits of the last hour. */
  busiest(count: number): BusyDevice[] {
    const last = this.#step();
    const first = last - STEPS + 1;
    const found: BusyDevice[] = [];
    for (const [device, steps] of this.#devices) {
      const minutes = new Array<number>(STEPS / STEPS_A_MINUTE).fill(0);
      let visits = 0;
      for (const [step, { requests, tcp }] of steps) {
        const minute = Math.floor((step - first) / STEPS_A_MINUTE);
        if (minute < 0) continue;
        minutes[minute] = (minutes[minute] ?? 0) + requests + tcp;
        visits += requests + tcp;
      }
      if (visits > 0) found.push({ device, visits, minutes });
    }
    return found.sort((a, b) => b.visits - a.visits || (a.device < b.device ? -1 : 1)).slice(0, count);
  }

  #step(): number {
    return Math.floor(this.#now() / STEP_MS);
  }

  #add(device: string, more: Step): void {
    const steps = this.#devices.get(device) ?? new Map<number, Step>();
    this.#devices.delete(device);
    this.#devices.set(device, steps);
    const oldest = this.#devices.size > MOST_DEVICES ? this.#devices.keys().next().value : undefined;
    if (oldest !== undefined) this.#devices.delete(oldest);
    const at = this.#step();
    for (const kept of [this.#all, steps]) {
      const step = kept.get(at) ?? empty();
      for (const key of Object.keys(more) as (keyof Step)[]) step[key] += more[key];
      kept.set(at, step);
      for (const old of kept.keys()) {
        if (old > at - STEPS) break;
        kept.delete(old);
      }
    }
  }
}
