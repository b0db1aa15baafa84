import type { AnyEvent } from '@culvert/bus';
import { CulvertError, EVENTS_STREAM } from '@culvert/contracts';
import { type Consumer, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';

/** Where a reader of the events is. */
export interface Position {
  /** Which stream it was: one that was made anew begins at 1 again. */
  stream: string;
  /** The last event that it has seen. */
  sequence: number;
}

export interface StreamState {
  stream: string;
  first: number;
  last: number;
}

const ANSWER_MS = 5_000;
/** Events of a device looked through for one page. */
const MOST_READ = 5_000;
/** What is about a device. */
const FAMILIES = ['device', 'lease'];
/** A page of the newest is sought in the last hour, then in the last day, then in all that is kept. */
const WINDOWS_MS = [3_600_000, 86_400_000, Number.POSITIVE_INFINITY];

const unavailable = (cause: unknown): never => {
  throw new CulvertError('unavailable', 'the stream of events cannot be read', { cause, retryAfterMs: 2_000 });
};

/** @throws CulvertError `unavailable` */
export async function streamState(nc: NatsConnection): Promise<StreamState> {
  const jsm = await jetstreamManager(nc, { timeout: ANSWER_MS }).catch(unavailable);
  const { created, state } = await jsm.streams.info(EVENTS_STREAM).catch(unavailable);
  return { stream: Date.parse(created).toString(36), first: state.first_seq, last: state.last_seq };
}

/** Events after a sequence. @throws CulvertError `unavailable` */
export function eventsAfter(nc: NatsConnection, sequence: number): Promise<Consumer> {
  return jetstream(nc, { timeout: ANSWER_MS })
    .consumers.get(EVENTS_STREAM, { deliver_policy: DeliverPolicy.StartSequence, opt_start_seq: sequence + 1 })
    .catch(unavailable);
}

/** `m3k2x1.814`: what the live feed sends as the id of an event. */
export const idOf = ({ stream, sequence }: Position): string => `${stream}.${sequence}`;

/** undefined: it is none of ours. */
export function positionOf(id: string): Position | undefined {
  const [, stream = '', sequence = ''] = /^([0-9a-z]{1,16})\.([0-9]{1,15})$/.exec(id) ?? [];
  return stream === '' ? undefined : { stream, sequence: Number(sequence) };
}

/** The newest events of a device before `cursor`, newest first. @throws CulvertError `unavailable` */
export async function newestEvents(
  nc: NatsConnection,
  device: string,
  limit: number,
  cursor: number | undefined,
): Promise<{ events: AnyEvent[]; cursor: number | null }> {
  for (const window of WINDOWS_MS) {
    const all = window === Number.POSITIVE_INFINITY;
    const end = cursor ?? Number.POSITIVE_INFINITY;
    // One by one: a filter must lie within one of the stream's subjects.
    const families = FAMILIES.map((family) =>
      lastOf(nc, `${family}.*.${device}`, limit + 1, end, all ? undefined : window).catch(unavailable),
    );
    const found = (await Promise.all(families)).flat().sort((a, b) => a.seq - b.seq);
    if (!all && found.length <= limit) continue;
    const page = found.slice(-limit).reverse();
    const events = page.map((message) => message.json<AnyEvent>());
    return { events, cursor: found.length > limit ? (page.at(-1)?.seq ?? null) : null };
  }
  return { events: [], cursor: null };
}

/** The last `most` events of a subject before `end`, oldest first. */
async function lastOf(
  nc: NatsConnection,
  subject: string,
  most: number,
  end: number,
  windowMs: number | undefined,
): Promise<JsMsg[]> {
  const consumer = await jetstream(nc, { timeout: ANSWER_MS }).consumers.get(EVENTS_STREAM, {
    filter_subjects: subject,
    ...(windowMs === undefined
      ? { deliver_policy: DeliverPolicy.All }
      : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(Date.now() - windowMs).toISOString() }),
  });
  const found: JsMsg[] = [];
  try {
    if ((await consumer.info()).num_pending === 0) return found;
    const batch = await consumer.fetch({ max_messages: MOST_READ, expires: ANSWER_MS });
    for await (const message of batch) {
      if (message.seq >= end) break;
      found.push(message);
      if (found.length > most) found.shift();
      if (message.info.pending === 0) break;
    }
  } finally {
    await consumer.delete().catch(() => {});
  }
  return found;
}
