import type { AnyEvent } from '@culvert/bus';
import { applyEvent, type DeviceState } from '@culvert/bus/device-state';
import { DEVICES_BUCKET, DEVICES_POSITION, DEVICES_PREFIX, EVENTS_STREAM } from '@culvert/contracts';
import { DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';

export interface WatchOptions {
  /** Ends the iteration. */
  signal?: AbortSignal;
  /** How long the snapshot may take to be there, in milliseconds; default 30,000. */
  deadlineMs?: number;
}

export type DeviceUpdate =
  /** All devices as they are; the first update, and again after the server's store was rebuilt. Do not change the map. */
  | { kind: 'snapshot'; devices: ReadonlyMap<string, DeviceState> }
  /** One device as it is after an event. */
  | { kind: 'change'; device: DeviceState; event: AnyEvent };

const STREAM = `KV_${DEVICES_BUCKET}`;
const PREFIX = `$KV.${DEVICES_BUCKET}.${DEVICES_PREFIX}`;
const DEADLINE_MS = 30_000;
const AGAIN_MS = 100;

/**
 * The present state of every device, then each change of it, without a gap between the two: the snapshot says up to which
 * event it is complete, and the stream is read on after that.
 *
 * @throws Error when the snapshot is not there by the deadline; errors of NATS as its client has them.
 */
export async function* watchDevices(nc: NatsConnection, options: WatchOptions = {}): AsyncGenerator<DeviceUpdate, void, void> {
  const { signal, deadlineMs = DEADLINE_MS } = options;
  let { devices, sequence } = await snapshot(nc, 0, deadlineMs);
  yield { kind: 'snapshot', devices };
  const consumer = await jetstream(nc).consumers.get(EVENTS_STREAM, {
    deliver_policy: DeliverPolicy.StartSequence,
    opt_start_seq: sequence + 1,
  });
  const messages = await consumer.consume({ max_messages: 500 });
  const stop = (): void => void messages.close();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    for await (const message of messages) {
      if (signal?.aborted) return;
      if (message.seq <= sequence) continue; // the new snapshot has it
      const event = message.json<AnyEvent>();
      if (event.type === 'store.recovered') {
        ({ devices, sequence } = await snapshot(nc, message.seq, deadlineMs));
        yield { kind: 'snapshot', devices };
        continue;
      }
      const before = devices.get(event.subject);
      const device = applyEvent(before, event);
      if (device === undefined || device === before) continue;
      devices.set(event.subject, device);
      yield { kind: 'change', device, event };
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    await messages.close();
  }
}

/** The bucket, once it is complete up to a sequence at least. The position is read first: the devices may only be newer. */
async function snapshot(
  nc: NatsConnection,
  least: number,
  deadlineMs: number,
): Promise<{ devices: Map<string, DeviceState>; sequence: number }> {
  const until = Date.now() + deadlineMs;
  for (;;) {
    const kv = await new Kvm(nc).open(DEVICES_BUCKET).catch(() => undefined);
    const sequence = kv === undefined ? undefined : await positionOf(kv).catch(() => undefined);
    if (kv !== undefined && sequence !== undefined && sequence >= least) {
      return { devices: await all(nc), sequence };
    }
    if (Date.now() > until)
      throw new Error(`the snapshot of devices (bucket ${DEVICES_BUCKET}) is not there in ${deadlineMs} ms`);
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}

async function positionOf(kv: KV): Promise<number | undefined> {
  const entry = await kv.get(DEVICES_POSITION);
  return entry === null || entry.operation !== 'PUT' ? undefined : entry.json<{ sequence: number }>().sequence;
}

/** What the bucket's stream has, up to what it had at the beginning at least; newer entries come later and win. */
async function all(nc: NatsConnection): Promise<Map<string, DeviceState>> {
  const devices = new Map<string, DeviceState>();
  const { state } = await (await jetstreamManager(nc)).streams.info(STREAM);
  if (state.messages === 0) return devices;
  const messages = await (await jetstream(nc).consumers.get(STREAM)).consume({ max_messages: 500 });
  try {
    for await (const message of messages) {
      if (message.subject.startsWith(PREFIX) && message.data.length > 0) {
        devices.set(message.subject.slice(PREFIX.length), message.json<DeviceState>());
      }
      if (message.seq >= state.last_seq || message.info.pending === 0) break;
    }
  } finally {
    await messages.close();
  }
  return devices;
}
