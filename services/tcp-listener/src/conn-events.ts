import type { Bus, CulvertEvent, EventData } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { Counter } from 'prom-client';

export type ConnEvent = 'conn.opened' | 'conn.closed' | 'conn.failed';

/** Events between two round trips to NATS: what may be lost with the connection. */
const BATCH = 256;
/** Events wait this long for others, so that a batch of them shares a write and a round trip. */
const GATHER_MS = 50;
const ANNOUNCE_MS = 10_000;

/**
 * Publishes conn.* at most once, without anybody waiting for it. While NATS is away or slow they wait in a ring of
 * EVENT_RING; the oldest are dropped, counted and announced in the log.
 */
export class ConnEvents {
  readonly #bus: Pick<Bus, 'nc' | 'connected'>;
  readonly #limits: Limits;
  readonly #log: Logger;
  readonly #dropped: Counter;
  readonly #source: { id: string; incarnation: string };
  #ring: { subject: string; body: string }[] = [];
  #oldest = 0;
  #seq = 0;
  #flushing: Promise<void> | undefined;
  #gathering: NodeJS.Timeout | undefined;
  #droppedSince = 0;
  #announcement: NodeJS.Timeout | undefined;

  constructor(
    bus: Pick<Bus, 'nc' | 'connected'>,
    limits: Limits,
    log: Logger,
    dropped: Counter,
    source: { id: string; incarnation: string },
  ) {
    this.#bus = bus;
    this.#limits = limits;
    this.#log = log;
    this.#dropped = dropped;
    this.#source = source;
  }

  /** @param at When it happened, in milliseconds since 1970. */
  publish<N extends ConnEvent>(type: N, device: string, data: Omit<EventData<N>, 'seq' | 'listener'>, at = Date.now()): void {
    this.#seq += 1;
    const { id, incarnation } = this.#source;
    const event: Omit<CulvertEvent<N>, 'data'> & { data: object } = {
      specversion: '1.0',
      id: `${incarnation}:${device}:${data.epoch}:${this.#seq}`,
      source: `/culvert/${id}`,
      type,
      subject: device,
      time: new Date(at).toISOString(),
      datacontenttype: 'application/json',
      data: { ...data, seq: this.#seq, listener: id },
    };
    this.#ring.push({ subject: `${type}.${device}`, body: JSON.stringify(event) });
    if (this.#ring.length - this.#oldest > this.#limits.EVENT_RING) this.#drop();
    this.#gathering ??= setTimeout(() => void this.flush(), GATHER_MS);
  }

  /** How many wait to be sent. */
  get waiting(): number {
    return this.#ring.length - this.#oldest;
  }

  /** Sends what waits; to be called when NATS is back too. Never rejects. */
  flush(): Promise<void> {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    this.#flushing ??= this.#send().finally(() => {
      this.#flushing = undefined;
    });
    return this.#flushing;
  }

  async #send(): Promise<void> {
    try {
      while (this.#ring.length > this.#oldest && this.#bus.connected) {
        const batch = this.#ring.slice(this.#oldest, this.#oldest + BATCH);
        this.#oldest += batch.length;
        this.#compact();
        for (const { subject, body } of batch) this.#bus.nc.publish(subject, body);
        await this.#bus.nc.flush();
      }
    } catch (err) {
      this.#log.debug({ event: 'conn_events.interrupted', err: (err as Error).message });
    }
  }

  stop(): void {
    clearTimeout(this.#announcement);
    clearTimeout(this.#gathering);
  }

  #drop(): void {
    this.#oldest += 1;
    this.#compact();
    this.#dropped.inc();
    this.#droppedSince += 1;
    this.#announcement ??= setTimeout(() => {
      this.#announcement = undefined;
      this.#log.warn({ event: 'conn_events.dropped', count: this.#droppedSince });
      this.#droppedSince = 0;
    }, ANNOUNCE_MS);
  }

  /** The ring is an array whose dead front is cut off now and then. */
  #compact(): void {
    if (this.#oldest < this.#ring.length && this.#oldest < this.#limits.EVENT_RING) return;
    this.#ring = this.#ring.slice(this.#oldest);
    this.#oldest = 0;
  }
}
