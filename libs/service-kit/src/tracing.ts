import { randomBytes } from 'node:crypto';
import type { Logger } from './log.ts';

/** Spans that wait for the collector; what comes beyond is dropped and counted. */
const MOST_WAITING = 4_096;
const BATCH = 512;
const GATHER_MS = 1_000;
const POST_MS = 5_000;

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;
/** Kinds of OTLP. */
const KIND = { internal: 1, server: 2, client: 3 } as const;

export type Attributes = Readonly<Record<string, string | number>>;

/** A span that is under way. */
export interface ActiveSpan {
  /** For whoever continues the trace: the W3C header of this span. */
  readonly traceparent: string;
  child(name: string, kind?: keyof typeof KIND): ActiveSpan;
  /** Ends it with an outcome; `ok` is the only good one. `at`: milliseconds since 1970, default now. Later calls change nothing. */
  end(outcome: string, attributes?: Attributes, at?: number): void;
}

/** A device's part of a visit, as it was seen from here and as far as the device said how it went. */
export interface AgentPart {
  device: string;
  /** Of whoever asked the device. */
  parent: string;
  /** When it was asked; milliseconds since 1970. */
  askedAt: number;
  outcome: string;
  /** What the device says, one after the other, in milliseconds. Nothing of it is believed beyond the present. */
  localMs?: number | undefined;
  openMs?: number | undefined;
}

export interface TracingOptions {
  /** Base of an OTLP/HTTP collector, such as http://127.0.0.1:4318; `/v1/traces` is added. */
  url: string;
  service: string;
  instance: string;
  log: Logger;
}

/**
 * Sends spans to a collector by OTLP/HTTP in JSON. At most once, bounded: nothing waits for it, and while the collector is
 * away spans are dropped.
 */
export class Tracing {
  readonly #options: TracingOptions;
  #waiting: object[] = [];
  /** For what devices do. */
  #agent: Tracing | undefined;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #sending: Promise<void> = Promise.resolve();

  constructor(options: TracingOptions) {
    this.#options = options;
  }

  /** Begins a span; of a trace of its own when `parent` is no traceparent. A parent that is not sampled is passed on, not recorded. */
  start(name: string, parent: string | undefined, kind: keyof typeof KIND = 'server', startedAt = Date.now()): ActiveSpan {
    const [, traceId = randomBytes(16).toString('hex'), parentSpanId, flags = '01'] = TRACEPARENT.exec(parent ?? '') ?? [];
    const spanId = randomBytes(8).toString('hex');
    const sampled = (Number.parseInt(flags, 16) & 1) === 1;
    const traceparent = `00-${traceId}-${spanId}-${flags}`;
    let over = false;
    return {
      traceparent,
      child: (childName, childKind = 'internal') => this.start(childName, traceparent, childKind),
      end: (outcome, attributes = {}, at = Date.now()) => {
        if (over || !sampled) return;
        over = true;
        this.#add({
          ...{ traceId, spanId, name, kind: KIND[kind] },
          ...(parentSpanId === undefined ? {} : { parentSpanId }),
          startTimeUnixNano: `${startedAt}000000`,
          endTimeUnixNano: `${Math.max(startedAt, at)}000000`,
          attributes: attributesOf({ 'culvert.outcome': outcome, ...attributes }),
          status: outcome === 'ok' ? {} : { code: 2, message: outcome },
        });
      },
    };
  }

  /**
   * The span of a device's part, with what it says of its local target and of opening the transfer. Devices need not reach the
   * collector: whoever asked them records it.
   */
  agentPart({ device, parent, askedAt, outcome, localMs, openMs }: AgentPart): void {
    this.#agent ??= new Tracing({ ...this.#options, service: 'agent' });
    const now = Date.now();
    const localAt = Math.min(now, askedAt + (localMs ?? now - askedAt));
    const openAt = Math.min(now, localAt + (openMs ?? 0));
    const about = { 'culvert.device': device };
    const span = this.#agent.start('agent', parent, 'server', askedAt);
    if (localMs !== undefined)
      this.#agent.start('agent local target', span.traceparent, 'client', askedAt).end(outcome, about, localAt);
    if (openMs !== undefined)
      this.#agent.start('agent transfer', span.traceparent, 'client', localAt).end(outcome, about, openAt);
    span.end(outcome, about, openAt);
  }

  /** Sends what waits, for POST_MS at most. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    this.#flush();
    await Promise.all([this.#sending, this.#agent?.stop()]);
  }

  #add(span: object): void {
    if (this.#waiting.length >= MOST_WAITING) {
      this.#dropped += 1;
      return;
    }
    this.#waiting.push(span);
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS).unref();
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#sending = this.#sending.then(async () => {
      while (this.#waiting.length > 0) await this.#post(this.#waiting.splice(0, BATCH));
      if (this.#dropped > 0) this.#options.log.warn({ event: 'traces.dropped', spans: this.#dropped });
      this.#dropped = 0;
    });
  }

  async #post(spans: object[]): Promise<void> {
    const { url, service, instance } = this.#options;
    const resource = { attributes: attributesOf({ 'service.name': service, 'service.instance.id': instance }) };
    try {
      const answer = await fetch(`${url.replace(/\/+$/, '')}/v1/traces`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ scope: { name: 'culvert' }, spans }] }] }),
        signal: AbortSignal.timeout(POST_MS),
      });
      await answer.arrayBuffer();
      if (!answer.ok) this.#dropped += spans.length;
    } catch {
      this.#dropped += spans.length; // announced once they all were tried
    }
  }
}

function attributesOf(values: Attributes): object[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === 'string' ? { stringValue: value } : { intValue: String(Math.round(value)) },
  }));
}
