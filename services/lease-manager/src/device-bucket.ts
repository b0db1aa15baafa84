import { setTimeout as delay } from 'node:timers/promises';
import { type AnyEvent, applyEvent, type DeviceState, isAboutDevice, isNewer } from '@culvert/bus';
import { DEVICES_BUCKET, DEVICES_POSITION, DEVICES_PREFIX, EVENTS_STREAM, type Lease } from '@culvert/contracts';
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import type { ManagerDeps } from './deps.ts';

/** Events between two writes of the position. */
const BATCH = 200;
const AT_ONCE = 32;
/** Who is overtaken by another writer of the same key reads again, this often. */
const TRIES = 8;
const PAGE = 500;
const PAUSE_MS = 1_000;

/** Everything up to `sequence` of the stream is in the bucket. */
interface Position {
  sequence: number;
  /** Of the key that says so. */
  revision: number;
}

/**
 * Keeps the bucket CULVERT_DEVICES: the present state of each device, as the stream of events tells it up to the position
 * that stands in the bucket too. Whoever reads the position first, then the devices, and goes on in the stream after that
 * position, misses nothing. Runs beside the relay, in the instance that has its lock; every write is a compare-and-set and
 * older events change nothing, so that a former one that was paused does no harm.
 *
 *   lost, or the stream has gone on without us --rebuilt from the store--> following --store.recovered--> rebuilt ...
 */
export class DeviceBucket {
  readonly #deps: ManagerDeps;
  #life: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
  }

  start(): void {
    const life = new AbortController();
    this.#life = life;
    this.#running = this.#running.then(() => this.#run(life.signal));
  }

  async stop(): Promise<void> {
    this.#life?.abort();
    await this.#running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#follow(signal);
      } catch (err) {
        if (!signal.aborted) this.#deps.log.warn({ event: 'device_bucket.interrupted', err });
      }
      if (!signal.aborted) await pause(PAUSE_MS, signal);
    }
  }

  /** Follows the stream until the signal. @throws whatever NATS or Redis fails with. */
  async #follow(signal: AbortSignal): Promise<void> {
    const { nc } = this.#deps.bus;
    const kv = await new Kvm(nc).create(DEVICES_BUCKET, { history: 1 });
    const { state } = await (await jetstreamManager(nc)).streams.info(EVENTS_STREAM);
    let position = await positionIn(kv);
    if (position.sequence + 1 < state.first_seq || position.sequence > state.last_seq || position.revision === 0) {
      position = await this.#rebuild(kv, { ...position, sequence: state.last_seq });
    }
    const consumer = await jetstream(nc).consumers.get(EVENTS_STREAM, {
      deliver_policy: DeliverPolicy.StartSequence,
      opt_start_seq: position.sequence + 1,
    });
    const messages = await consumer.consume({ max_messages: BATCH });
    const stop = (): void => void messages.close();
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop(); // it may have been, while all this was set up
    try {
      let batch: AnyEvent[] = [];
      for await (const message of messages) {
        if (signal.aborted) return;
        const event = message.json<AnyEvent>();
        batch.push(event);
        const recovered = event.type === 'store.recovered';
        if (message.info.pending > 0 && batch.length < BATCH && !recovered) continue;
        await this.#apply(kv, batch);
        batch = [];
        const reached = { ...position, sequence: message.seq };
        position = recovered ? await this.#rebuild(kv, reached) : await save(kv, reached);
      }
    } finally {
      signal.removeEventListener('abort', stop);
      await messages.close();
    }
  }

  async #apply(kv: KV, events: readonly AnyEvent[]): Promise<void> {
    const byDevice = Map.groupBy(events.filter(isAboutDevice), ({ subject }) => subject);
    await inBatches([...byDevice], ([device, its]) => {
      return change(kv, device, (before) => its.reduce<DeviceState | undefined>(applyEvent, before));
    });
  }

  /** What the stream does not tell any more, the store does. It may be ahead of the stream: later events then change nothing. */
  async #rebuild(kv: KV, position: Position): Promise<Position> {
    const { store, log } = this.#deps;
    const known = new Set<string>();
    let cursor: string | undefined;
    do {
      const page = await store.leases.list({ cursor, limit: PAGE });
      await inBatches(page.leases, async ({ lease, seq }) => {
        known.add(lease.device);
        const now = stateOf(lease, seq - 1);
        await change(kv, lease.device, (before) => (isNewer(now, before) || before?.state === 'offline' ? now : before));
      });
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    const others: string[] = [];
    for await (const key of await kv.keys(`${DEVICES_PREFIX}*`)) {
      const device = key.slice(DEVICES_PREFIX.length);
      if (!known.has(device)) others.push(device);
    }
    await inBatches(others, async (device) => {
      if ((await store.leases.get(device)).lease !== null) return; // it came meanwhile: its events follow
      await change(kv, device, (before) => (before === undefined || before.state === 'offline' ? before : gone(before)));
    });
    log.info({ event: 'device_bucket.rebuilt', devices: known.size, sequence: position.sequence });
    return save(kv, position);
  }
}

async function positionIn(kv: KV): Promise<Position> {
  const entry = await kv.get(DEVICES_POSITION);
  if (entry === null || entry.operation !== 'PUT') return { sequence: 0, revision: 0 };
  return { sequence: entry.json<{ sequence: number }>().sequence, revision: entry.revision };
}

/** @throws when another one has written it since: it does the work now. */
async function save(kv: KV, { sequence, revision }: Position): Promise<Position> {
  const text = JSON.stringify({ sequence });
  const written = revision === 0 ? await kv.create(DEVICES_POSITION, text) : await kv.update(DEVICES_POSITION, text, revision);
  return { sequence, revision: written };
}

async function change(kv: KV, device: string, next: (before: DeviceState | undefined) => DeviceState | undefined): Promise<void> {
  const key = `${DEVICES_PREFIX}${device}`;
  for (let tries = 0; ; tries++) {
    const entry = await kv.get(key);
    const before = entry === null || entry.operation !== 'PUT' ? undefined : entry.json<DeviceState>();
    const after = next(before);
    if (after === undefined || after === before) return;
    try {
      if (entry === null) await kv.create(key, JSON.stringify(after));
      else await kv.update(key, JSON.stringify(after), entry.revision);
      return;
    } catch (error) {
      if (tries + 1 >= TRIES) throw error;
    }
  }
}

const stateOf = (lease: Lease, seq: number): DeviceState => {
  const { device, state, epoch, since, due, endpoints, listener, remote } = lease;
  const held = state === 'held';
  return {
    ...{ device, state, epoch, seq, since, reason: 'read_from_store', due: state === 'grace' ? due : null },
    ...{ endpoints, listener, ingress: held ? lease.ingress : '', remote },
  };
};

const gone = (before: DeviceState): DeviceState => ({
  ...before,
  ...{ state: 'offline', since: Date.now(), reason: 'lost_with_store', due: null, endpoints: [], listener: '', ingress: '' },
});

async function inBatches<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  for (let i = 0; i < items.length; i += AT_ONCE) await Promise.all(items.slice(i, i + AT_ONCE).map(work));
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => {}); // told to stop
}
