import type { CulvertEvent } from '@culvert/bus';
import { EVENTS_STREAM } from '@culvert/contracts';
import type { OutboxEntry } from '@culvert/lease-store';
import { jetstream, jetstreamManager, type PubAck } from '@nats-io/jetstream';
import { headers } from '@nats-io/transport-node';
import type { Redis } from 'ioredis';
import type { ManagerDeps } from './deps.ts';
import { lastSent, OUTBOX_HEADER, type Place } from './last-sent.ts';

/** Read, published and trimmed together. */
const BATCH = 500;
/** Batches on their way at once: the next is read and sent while NATS stores those before it. */
const FLIGHTS = 4;
const WAIT_MS = 1_000;
const PUBLISH_MS = 5_000;

interface Flight {
  entries: OutboxEntry[];
  acks: Promise<PromiseSettledResult<PubAck>[]>;
}

/**
 * Brings the outbox to the stream, in order, for as long as one instance has the right to.
 *
 * Every message names the sequence and the message that it expects before it. So of all that are on their way a first part is stored,
 * or all: the sequence alone would let the next one in where a stranger's message took the place of one. Once one is not stored,
 * those behind it are waited for, and the stream's last message says where to go on.
 */
export class OutboxFlow {
  readonly #deps: ManagerDeps;
  readonly #reader: Redis;
  readonly #fence: number;
  /** Everything up to here is in the stream. */
  #place: Place;
  /** Everything up to here has been sent. */
  #sent: Place;
  /** The message before the next one; undefined when that is not known to be ours. */
  #before: string | undefined;
  #flights: Flight[] = [];

  private constructor(deps: ManagerDeps, reader: Redis, fence: number, place: Place) {
    this.#deps = deps;
    this.#reader = reader;
    this.#fence = fence;
    this.#place = this.#sent = place;
  }

  /** `reader`: a connection of its own, which is blocked while it waits for entries. */
  static async begin(deps: ManagerDeps, reader: Redis, fence: number): Promise<OutboxFlow> {
    return new OutboxFlow(deps, reader, fence, await lastSent(await jetstreamManager(deps.bus.nc), deps.store));
  }

  get place(): Place {
    return this.#place;
  }

  /** One step: a batch is sent, or the oldest one is acknowledged, or nothing comes within a second. @throws what NATS or Redis fails with */
  async step(): Promise<void> {
    if (this.#flights.length < FLIGHTS) {
      const waitMs = this.#flights.length === 0 ? WAIT_MS : 0;
      const entries = await this.#deps.store.outbox.read(this.#sent.position, BATCH, waitMs, this.#reader);
      if (entries.length > 0) {
        this.#send(entries);
        return;
      }
    }
    const first = this.#flights.shift();
    if (first === undefined) return;
    const inStep = await this.#settle(first);
    if (!inStep) {
      await this.settled();
      this.#place = later(await lastSent(await jetstreamManager(this.#deps.bus.nc), this.#deps.store), this.#place);
      this.#sent = this.#place;
      this.#before = undefined;
    }
    if (this.#place.position !== '0') await this.#deps.store.outbox.trim(this.#place.position);
  }

  /** When nothing is on its way any more. */
  async settled(): Promise<void> {
    await Promise.all(this.#flights.map(({ acks }) => acks));
    this.#flights = [];
  }

  #send(entries: OutboxEntry[]): void {
    const js = jetstream(this.#deps.bus.nc);
    const { sequence } = this.#sent;
    const sent = entries.map((entry, i) => {
      const more = headers();
      more.set(OUTBOX_HEADER, `${incarnationOf(entry)} ${entry.position}`);
      more.set('Culvert-Relay', String(this.#fence));
      const before = this.#before;
      this.#before = entry.id;
      return js.publish(`${entry.type}.${entry.subject}`, JSON.stringify(cloudEventOf(entry)), {
        msgID: entry.id,
        headers: more,
        expect: { streamName: EVENTS_STREAM, lastSequence: sequence + i, ...(before === undefined ? {} : { lastMsgID: before }) },
        timeout: PUBLISH_MS,
      });
    });
    this.#flights.push({ entries, acks: Promise.allSettled(sent) });
    this.#sent = { sequence: sequence + entries.length, position: entries.at(-1)?.position ?? this.#sent.position };
  }

  /** Waits for the answers to a batch; false when not all of it is stored as it was sent. */
  async #settle({ entries, acks }: Flight): Promise<boolean> {
    const { metrics, log } = this.#deps;
    for (const [i, result] of (await acks).entries()) {
      const entry = entries[i];
      if (entry === undefined || result.status === 'rejected') {
        log.warn({ event: 'relay.out_of_step', err: result.status === 'rejected' ? String(result.reason) : '' });
        return false;
      }
      // One that was stored before keeps its place: those behind it expected one more, and are sent again.
      const sequence = result.value.duplicate ? this.#place.sequence : result.value.seq;
      this.#place = { sequence, position: entry.position };
      metrics.relayed.inc();
      metrics.eventLagSeconds.observe(Math.max(0, Date.now() - entry.time) / 1000);
    }
    return this.#flights.length > 0 || this.#place.sequence === this.#sent.sequence;
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
