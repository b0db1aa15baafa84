import { isErrorCode } from '@culvert/contracts';
import { type Ending, initialBackoff, nextAttempt } from '@culvert/wire';
import { WebSocket } from 'ws';
import { registerDevices } from '../harness/registration.ts';
import type { StackInfo } from '../harness/system.ts';

/** One device of a storm: the wire protocol and the agent's own pace of reconnection, nothing behind it. */
class StormDevice {
  readonly name: string;
  readonly #url: string;
  readonly #token: string;
  readonly #from: string;
  readonly #storm: Storm;
  #ws: WebSocket | undefined;
  #state = initialBackoff();
  #timer: NodeJS.Timeout | undefined;
  #readyAt = 0;
  #stopped = false;

  constructor(storm: Storm, index: number, url: string, name: string, token: string) {
    this.#storm = storm;
    this.#url = url;
    this.name = name;
    this.#token = token;
    this.#from = `127.0.0.${2 + (index % 200)}`;
  }

  connect(): void {
    let ended = false;
    const end = (ending: Ending): void => {
      if (ended) return;
      ended = true;
      this.#end(ending);
    };
    const ws = new WebSocket(this.#url, 'culvert.v1', {
      headers: { authorization: `Bearer ${this.#token}` },
      localAddress: this.#from,
      handshakeTimeout: 20_000,
      perMessageDeflate: false,
    });
    this.#ws = ws;
    ws.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as { type: string; epoch?: number };
      if (message.type !== 'ready') return;
      this.#readyAt = performance.now();
      this.#storm.onReady(this, message.epoch ?? 0);
    });
    ws.on('unexpected-response', (_, response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => {
        body += chunk.toString();
      });
      response.on('end', () => {
        const code = codeOf(body);
        this.#storm.refusals.set(code, (this.#storm.refusals.get(code) ?? 0) + 1);
        const seconds = response.headers['retry-after'];
        if (!isErrorCode(code)) end({ kind: 'failed' });
        else end({ kind: 'refused', code, retryAfterMs: seconds === undefined ? undefined : Number(seconds) * 1000 });
        ws.terminate();
      });
    });
    ws.on('error', () => end({ kind: 'failed' }));
    ws.on('close', () => {
      end(this.#readyAt > 0 ? { kind: 'lost', livedMs: performance.now() - this.#readyAt } : { kind: 'failed' });
    });
  }

  #end(ending: Ending): void {
    this.#readyAt = 0;
    if (this.#stopped) return;
    this.#storm.onLost(this);
    const next = nextAttempt(this.#state, ending, 1, Math.random());
    this.#state = next.state;
    if (ending.kind === 'lost') this.#storm.waits.push(next.waitMs);
    this.#timer = setTimeout(() => this.connect(), next.waitMs);
  }

  /** Its link is cut: no close frame. */
  drop(): void {
    this.#ws?.terminate();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#ws?.close(1000);
  }
}

function codeOf(body: string): string {
  try {
    return (JSON.parse(body) as { code: string }).code;
  } catch {
    return 'no JSON';
  }
}

export interface StormReport {
  /** From the drop until all were ready again, in milliseconds; Infinity when not all were. */
  backMs: number;
  /** How many became ready in each second. */
  perSecond: number[];
  /** The agents' own first waits, in buckets of 250 ms. */
  jitter: number[];
  refusals: Record<string, number>;
  missing: string[];
}

const BUCKET_MS = 250;
const CONNECTING_AT_ONCE = 60;

/** Many devices of one stack in this process. */
export class Storm {
  readonly waits: number[] = [];
  readonly refusals = new Map<string, number>();
  readonly #devices: StormDevice[] = [];
  readonly #ready = new Map<StormDevice, number>();
  #wake: () => void = () => {};

  /** Registers the devices and connects all of them, a few at a time. */
  static async start(info: StackInfo, count: number, deadlineMs: number): Promise<Storm> {
    const storm = new Storm();
    const { host } = new URL(info.edge);
    const names = Array.from({ length: count }, (_, at) => `storm-${at}`);
    const tokens = await registerDevices(info, names);
    const until = performance.now() + deadlineMs;
    for (const [at, name] of names.entries()) {
      const url = `ws://${host}/v1/control?name=${name}&ports=tcp:22&boot=${name}-0123456789abcdef`;
      const device = new StormDevice(storm, at, url, name, tokens[at] ?? '');
      storm.#devices.push(device);
      while (storm.#devices.length - storm.#ready.size > CONNECTING_AT_ONCE) await storm.#change(until, 'the first connect');
      device.connect();
    }
    while (storm.#ready.size < count) await storm.#change(until, 'the first connect');
    return storm;
  }

  get ready(): number {
    return this.#ready.size;
  }

  onReady(device: StormDevice, epoch: number): void {
    this.#ready.set(device, epoch);
    this.#wake();
  }

  onLost(device: StormDevice): void {
    this.#ready.delete(device);
    this.#wake();
  }

  /** All links are cut at once; resolves when every device is back, or after the deadline. */
  async strike(deadlineMs: number): Promise<StormReport> {
    this.waits.length = 0;
    this.refusals.clear();
    const startedAt = performance.now();
    const until = startedAt + deadlineMs;
    for (const device of this.#devices) device.drop();
    while (this.#ready.size > 0 && this.waits.length < this.#devices.length) await this.#change(until, 'the drop');
    const perSecond: number[] = [];
    let before = this.#ready.size;
    let nextSecond = startedAt + 1_000;
    while (this.#ready.size < this.#devices.length && performance.now() < until) {
      await this.#change(Math.min(nextSecond, until), undefined);
      if (performance.now() < nextSecond) continue;
      nextSecond += 1_000;
      perSecond.push(this.#ready.size - before);
      before = this.#ready.size;
    }
    perSecond.push(this.#ready.size - before);
    const missing = this.#devices.filter((device) => !this.#ready.has(device)).map(({ name }) => name);
    const jitter: number[] = [];
    for (const wait of this.waits) {
      const bucket = Math.floor(wait / BUCKET_MS);
      jitter[bucket] = (jitter[bucket] ?? 0) + 1;
    }
    return {
      backMs: missing.length === 0 ? Math.round(performance.now() - startedAt) : Number.POSITIVE_INFINITY,
      perSecond,
      jitter: Array.from(jitter, (count) => count ?? 0),
      refusals: Object.fromEntries(this.refusals),
      missing,
    };
  }

  stop(): void {
    for (const device of this.#devices) device.stop();
  }

  /** Waits for the next change, at most until then; without `what` that is no failure. */
  async #change(until: number, what: string | undefined): Promise<void> {
    const left = until - performance.now();
    if (left <= 0) {
      if (what === undefined) return;
      throw new Error(`${what} takes too long: ${this.#ready.size} of ${this.#devices.length} devices are ready`);
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, left);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/** Bars of `#`, one line a bucket. */
export function histogram(counts: readonly number[], label: (bucket: number) => string): string {
  const most = Math.max(1, ...counts);
  return counts
    .map((count, at) => `${label(at)} ${String(count).padStart(5)} ${'#'.repeat(Math.round((count / most) * 50))}`)
    .join('\n');
}

export function stormText(devices: number, { backMs, perSecond, jitter, refusals }: StormReport): string {
  return [
    `${devices} devices dropped at once were back after ${(backMs / 1000).toFixed(1)} s; refused: ${JSON.stringify(refusals)}`,
    'first wait of the agents, ms',
    histogram(jitter, (bucket) => `${String(bucket * BUCKET_MS).padStart(6)}..`),
    'ready again, by second',
    histogram(perSecond, (second) => `${String(second).padStart(6)} s`),
  ].join('\n');
}
