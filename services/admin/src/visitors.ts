import type { Bus, CulvertEvent, EventData } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { Redis } from 'ioredis';
import type { Counter } from 'prom-client';

/** A request at the edge, as the edge reports it. */
export interface VisitorRequest {
  /** The same as in the edge's log and in `Culvert-Visitor`. */
  id: string;
  /** When it ended; milliseconds since 1970. */
  at: number;
  device: string;
  host: string;
  remote: string;
  method: string;
  /** Without the query, at most 256 bytes. */
  path: string;
  status: number;
  outcome: string;
  ms: number;
  bytes_in: number;
  bytes_out: number;
}

/** A visitor of a tcp endpoint. */
export interface TcpVisitor {
  /** As in the listener's log and the events. */
  id: string;
  at: number;
  device: string;
  remote: string;
  port: number;
  /** Null while it goes on. */
  outcome: string | null;
  ms: number | null;
  to_device: number | null;
  to_visitor: number | null;
}

const CHANNEL = 'visitor.requests';
const PING_MS = 10_000;
/** Devices whose tcp visitors are remembered; the longest unvisited is forgotten. */
const MOST_DEVICES = 2_000;

export interface VisitorsDeps {
  redis: Redis;
  bus: Pick<Bus, 'nc'>;
  limits: Pick<Limits, 'VISITORS_KEPT'>;
  log: Logger;
  dropped: Counter;
}

/**
 * Who visits which device, for people who watch: the last ones, and what comes from now on. Requests come from the edges
 * by way of Redis, tcp visitors from conn.* events since the start of this instance. At most once, bounded.
 */
export class Visitors {
  readonly #deps: VisitorsDeps;
  readonly #subscriber: Redis;
  readonly #listeners = new Set<(request: VisitorRequest) => void>();
  readonly #tcpListeners = new Set<(visitor: TcpVisitor, isNew: boolean) => void>();
  readonly #tcp = new Map<string, Map<string, TcpVisitor>>();
  #stop: () => void = () => {};

  constructor(deps: VisitorsDeps) {
    this.#deps = deps;
    this.#subscriber = deps.redis.duplicate({ enableAutoPipelining: false, enableReadyCheck: false });
    this.#subscriber.on('error', () => {}); // the other connection reports it, and both come back by themselves
    this.#subscriber.on('message', (_channel, text) => this.#onBatch(text));
  }

  async start(): Promise<void> {
    await this.#subscriber.connect();
    await this.#subscriber.subscribe(CHANNEL);
    const subscription = this.#deps.bus.nc.subscribe('conn.*.*', {
      callback: (error, message) => {
        if (error !== null) return;
        const text = message.string();
        if (!text.includes('"visitor":"edge:')) this.#onConn(text);
      },
    });
    // What is only listened to says nothing when its server is gone: the answer to this must come in time.
    const ping = setInterval(() => void this.#subscriber.ping().catch(() => {}), PING_MS);
    this.#stop = () => {
      clearInterval(ping);
      subscription.unsubscribe();
    };
  }

  stop(): void {
    this.#stop();
    this.#subscriber.disconnect();
  }

  /** Calls `listener` for every request from now on; call what is returned to end it. */
  follow(listener: (request: VisitorRequest) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The same for visitors of tcp endpoints: when one comes, and again when it is over. */
  followTcp(listener: (visitor: TcpVisitor, isNew: boolean) => void): () => void {
    this.#tcpListeners.add(listener);
    return () => this.#tcpListeners.delete(listener);
  }

  /** The last requests of a device, newest first. */
  async requests(device: string, limit: number): Promise<VisitorRequest[]> {
    const texts = await this.#deps.redis.lrange(`visitors:${device}`, 0, limit - 1);
    return texts.map((text) => JSON.parse(text) as VisitorRequest);
  }

  /** The last visitors of its tcp endpoints, newest first. */
  tcp(device: string, limit: number): TcpVisitor[] {
    return [...(this.#tcp.get(device)?.values() ?? [])].reverse().slice(0, limit);
  }

  #onBatch(text: string): void {
    try {
      const { dropped, requests } = JSON.parse(text) as { dropped: number; requests: VisitorRequest[] };
      this.#deps.dropped.inc(dropped);
      for (const request of requests) for (const listener of this.#listeners) listener(request);
    } catch (err) {
      this.#deps.log.warn({ event: 'visitors.unreadable', err: (err as Error).message });
    }
  }

  #onConn(text: string): void {
    const { type, subject: device, time, data } = JSON.parse(text) as CulvertEvent<'conn.opened'>;
    const closed = type === ('conn.closed' as string) ? (data as EventData<'conn.closed'>) : undefined;
    const failed = type === ('conn.failed' as string) ? (data as EventData<'conn.failed'>) : undefined;
    const visitor: TcpVisitor = {
      ...{ id: data.conn, at: Date.parse(time), device, remote: data.visitor, port: data.port },
      outcome: (closed ?? failed)?.outcome ?? null,
      ms: closed?.duration_ms ?? failed?.wait_ms ?? null,
      to_device: closed?.to_device ?? (failed === undefined ? null : 0),
      to_visitor: closed?.to_visitor ?? (failed === undefined ? null : 0),
    };
    const its = this.#tcp.get(device) ?? new Map<string, TcpVisitor>();
    const isNew = !its.has(visitor.id);
    for (const listener of this.#tcpListeners) listener(visitor, isNew);
    this.#tcp.delete(device);
    this.#tcp.set(device, its);
    its.delete(visitor.id);
    its.set(visitor.id, visitor);
    for (const [kept, most] of [
      [its, this.#deps.limits.VISITORS_KEPT],
      [this.#tcp, MOST_DEVICES],
    ] as const) {
      const oldest = kept.size > most ? kept.keys().next().value : undefined;
      if (oldest !== undefined) kept.delete(oldest);
    }
  }
}
