import type { AnyEvent } from '@culvert/bus';
import { AckPolicy, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';
import { type ConsumeOptions, type Selection, select } from './options.ts';
import { Seen } from './seen.ts';

const ACK_WAIT_MS = 30_000;
const NAME = /^[A-Za-z0-9_-]{1,64}$/;
const NANOS = 1_000_000;

/**
 * Events in order, each once: a duplicate, and what is older than the last event of its device, is left out. With `durable`
 * an event is acknowledged when the next one is asked for: a loop body that throws, or a process that dies in it, gets the
 * event again. So a body must bear to see an event twice, once for every crash.
 *
 * @throws TypeError for options that cannot be meant; errors of NATS as its client has them, when the stream cannot be read.
 */
export async function* consume(nc: NatsConnection, options: ConsumeOptions = {}): AsyncGenerator<AnyEvent, void, void> {
  const { durable, signal, ackWaitMs = ACK_WAIT_MS } = options;
  const selection = select(options);
  if (durable !== undefined && !NAME.test(durable)) {
    throw new TypeError(`durable ${JSON.stringify(durable)}: expected 1 to 64 letters, digits, hyphens and underscores`);
  }
  const consumer =
    durable === undefined ? await ordered(nc, selection, options) : await remembered(nc, selection, durable, ackWaitMs, options);
  const seen = new Seen();
  const messages = await consumer.consume({ max_messages: durable === undefined ? 500 : 2 });
  const stop = (): void => void messages.close();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    for await (const message of messages) {
      if (signal?.aborted) return;
      const event = message.json<AnyEvent>();
      const skip = seen.has(event) || !selection.wants(event);
      if (!skip) {
        const working = setInterval(() => message.working(), ackWaitMs / 3);
        try {
          yield event;
        } finally {
          clearInterval(working);
        }
        seen.note(event);
      }
      if (durable !== undefined) await acknowledge(message);
    }
  } finally {
    signal?.removeEventListener('abort', stop);
    await messages.close();
  }
}

/** Waits until the server has it. When that fails the server sends the event again, and it is known as seen. */
async function acknowledge(message: JsMsg): Promise<void> {
  await message.ackAck().catch(() => {});
}

const start = (from: ConsumeOptions['from']): DeliverPolicy => (from === 'now' ? DeliverPolicy.New : DeliverPolicy.All);

function ordered(nc: NatsConnection, { stream, subject }: Selection, { from = 'now' }: ConsumeOptions) {
  return jetstream(nc).consumers.get(stream, { filter_subjects: subject, deliver_policy: start(from) });
}

/** The consumer of that name, made when it is not there. One event under way at a time keeps the order through every crash. */
async function remembered(
  nc: NatsConnection,
  { stream, subject, text }: Selection,
  durable: string,
  ackWaitMs: number,
  { from = 'beginning' }: ConsumeOptions,
) {
  const jsm = await jetstreamManager(nc);
  const known = await jsm.consumers.info(stream, durable).catch(() => undefined);
  if (known === undefined) {
    await jsm.consumers.add(stream, {
      durable_name: durable,
      description: text,
      ack_policy: AckPolicy.Explicit,
      ack_wait: ackWaitMs * NANOS,
      max_ack_pending: 1,
      deliver_policy: start(from),
      filter_subject: subject,
    });
  } else if (known.config.description !== text) {
    throw new TypeError(
      `durable ${durable} follows ${known.config.description}, not ${text}; expected another name for another choice`,
    );
  }
  return jetstream(nc).consumers.get(stream, durable);
}
