import { randomBytes } from 'node:crypto';
import type { CulvertEvent } from '@culvert/bus';
import { EVENTS_STREAM } from '@culvert/contracts';
import type { LeaseStore, OutboxEntry } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';
import type { Redis } from 'ioredis';
import type { ManagerDeps } from './deps.ts';
import { DeviceBucket } from './device-bucket.ts';
import { lastSent, OUTBOX_HEADER, type Place } from './last-sent.ts';
import { ensureStreams } from './streams.ts';

const LOCK_TTL_MS = 5_000;
const STANDBY_MS = 1_000;
/** Published without waiting for each other: the expected sequence keeps them in order, all or a first part. */
const BATCH = 100;
const WAIT_MS = 1_000;
const PUBLISH_MS = 5_000;

/**
 * Relays the outbox to the stream, in order, at least once. One instance does, by a lock in Redis; the others stand by.
 * What makes it safe is the stream itself: every message names the sequence that it expects before it, and where in the
 * outbox it came from. So one who was paused while another took over fails at its first message, reads the stream's last
 * one and goes on after that.
 */
export class Relay {
  readonly #deps: ManagerDeps;
  readonly #store: LeaseStore;
  readonly #log: Logger;
  readonly #nc: NatsConnection;
  /** Of its own: it is blocked while it waits for entries. */
  readonly #reader: Redis;
  readonly #owner = randomBytes(8).toString('hex');
  readonly #bucket: DeviceBucket;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(deps: ManagerDeps, reader: Redis) {
    this.#deps = deps;
    this.#store = deps.store;
    this.#log = deps.log;
    this.#nc = deps.bus.nc;
    this.#reader = reader;
    this.#bucket = new DeviceBucket(deps);
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    this.#reader.disconnect();
    await this.#running;
    await this.#store.outbox.unlock(this.#owner);
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      try {
        const fence = await this.#store.outbox.lock(this.#owner, LOCK_TTL_MS);
        if (fence !== 0) await this.#lead(fence);
      } catch (err) {
        if (!this.#stopped) this.#log.warn({ event: 'relay.interrupted', err });
      }
      this.#deps.metrics.relayActive.set(0);
      await this.#bucket.stop();
      await this.#pause(STANDBY_MS);
    }
  }

  /** Relays until the lock is lost. @throws whatever NATS or Redis fails with. */
  async #lead(fence: number): Promise<void> {
    if (!this.#deps.bus.connected) return;
    await ensureStreams(await jetstreamManager(this.#nc), this.#deps.limits);
    const life = await this.#store.incarnation();
    let place = await this.#find();
    let renewedAt = performance.now();
    this.#deps.metrics.relayActive.set(1);
    this.#log.info({ event: 'relay.active', fence, ...place });
    this.#bucket.start();
    while (!this.#stopped) {
      if (performance.now() - renewedAt > LOCK_TTL_MS / 3) {
        if ((await this.#store.outbox.lock(this.#owner, LOCK_TTL_MS)) !== fence) return;
        if ((await this.#store.incarnation()) !== life) return; // positions begin anew
        renewedAt = performance.now();
      }
      const entries = await this.#store.outbox.read(place.position, BATCH, WAIT_MS, this.#reader);
      if (entries.length === 0) continue;
      place = await this.#publish(entries, place, fence);
      if (place.position !== '0') await this.#store.outbox.trim(place.position);
    }
  }

  async #publish(entries: OutboxEntry[], from: Place, fence: number): Promise<Place> {
    const js = jetstream(this.#nc);
    const sent = entries.map((entry, i) => {
      const more = headers();
      more.set(OUTBOX_HEADER, `${incarnationOf(entry)} ${entry.position}`);
      more.set('Culvert-Relay', String(fence));
      return js.publish(`${entry.type}.${entry.subject}`, JSON.stringify(cloudEventOf(entry)), {
        msgID: entry.id,
        headers: more,
        expect: { streamName: EVENTS_STREAM, lastSequence: from.sequence + i },
        timeout: PUBLISH_MS,
      });
    });
    let place = from;
    const results = await Promise.allSettled(sent);
    for (const [i, result] of results.entries()) {
      const entry = entries[i];
      if (entry === undefined || result.status === 'rejected') {
        this.#log.warn({ event: 'relay.out_of_step', err: result.status === 'rejected' ? String(result.reason) : '' });
        return later(await this.#find(), place);
      }
      place = { sequence: result.value.duplicate ? place.sequence : result.value.seq, position: entry.position };
      this.#deps.metrics.relayed.inc();
      this.#deps.metrics.eventLagSeconds.observe(Math.max(0, Date.now() - entry.time) / 1000);
    }
    return place;
  }

  async #find(): Promise<Place> {
    return lastSent(await jetstreamManager(this.#nc), this.#store);
  }

  async #pause(ms: number): Promise<void> {
    if (this.#stopped) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

const incarnationOf = ({ id }: OutboxEntry): string => id.slice(0, id.indexOf(':'));

function cloudEventOf(entry: OutboxEntry): CulvertEvent {
  return {
    specversion: '1.0',
    id: entry.id,
    source: '/culvert/lease-manager',
    type: entry.type,
    subject: entry.subject,
    time: new Date(entry.time).toISOString(),
    datacontenttype: 'application/json',
    data: JSON.parse(entry.data) as CulvertEvent['data'],
  };
}

/** The stream's word on the sequence; of the positions the later one, for both were acknowledged. */
function later(found: Place, reached: Place): Place {
  const [a = 0n, b = 0n] = found.position.split('-').map(BigInt);
  const [c = 0n, d = 0n] = reached.position.split('-').map(BigInt);
  return a > c || (a === c && b >= d) ? found : { ...found, position: reached.position };
}
