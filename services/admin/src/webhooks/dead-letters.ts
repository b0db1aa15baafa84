import type { AnyEvent } from '@culvert/bus';
import { DEAD_STREAM, DEAD_SUBJECTS, type Limits } from '@culvert/contracts';
import { DiscardPolicy, jetstream, jetstreamManager, RetentionPolicy, StorageType } from '@nats-io/jetstream';
import { headers, type NatsConnection } from '@nats-io/transport-node';

const REASON = 'Culvert-Reason';
/** A list ends when nothing has come for so long: what was there a moment ago may have been delivered and removed. */
const SILENCE_MS = 1_000;

export interface DeadLetter {
  event: AnyEvent;
  /** Why the last attempt failed. */
  reason: string;
  /** When it was given up; milliseconds since 1970. */
  at: number;
}

export const deadSubject = (webhook: string): string => `dead.webhook.${webhook}`;

/** Events that were given up: a stream of their own, the oldest of a webhook go first. */
export class DeadLetters {
  readonly #nc: NatsConnection;
  readonly #limits: Pick<Limits, 'WEBHOOK_DEAD' | 'EVENTS_RETENTION_MS'>;
  #made: Promise<void> | undefined;

  constructor(nc: NatsConnection, limits: Pick<Limits, 'WEBHOOK_DEAD' | 'EVENTS_RETENTION_MS'>) {
    this.#nc = nc;
    this.#limits = limits;
  }

  async add(webhook: string, text: string, reason: string): Promise<void> {
    await this.ready();
    const more = headers();
    more.set(REASON, reason.replaceAll(/[^\x20-\x7e]/g, '?').slice(0, 300));
    await jetstream(this.#nc).publish(deadSubject(webhook), text, { headers: more });
  }

  /** The newest `limit`, newest first. */
  async list(webhook: string, limit: number): Promise<DeadLetter[]> {
    await this.ready();
    const consumer = await jetstream(this.#nc).consumers.get(DEAD_STREAM, { filter_subjects: deadSubject(webhook) });
    const letters: DeadLetter[] = [];
    if ((await consumer.info()).num_pending === 0) return letters;
    const messages = await consumer.consume();
    const silence = setTimeout(() => void messages.close(), SILENCE_MS);
    try {
      for await (const message of messages) {
        silence.refresh();
        const at = Math.round(message.info.timestampNanos / 1e6);
        letters.push({ event: message.json<AnyEvent>(), reason: message.headers?.get(REASON) ?? '', at });
        if (letters.length > limit) letters.shift();
        if (message.info.pending === 0) break;
      }
    } finally {
      clearTimeout(silence);
      await messages.close();
    }
    return letters.reverse();
  }

  async remove(sequence: number): Promise<void> {
    await (await jetstreamManager(this.#nc)).streams.deleteMessage(DEAD_STREAM, sequence, false);
  }

  async forget(webhook: string): Promise<void> {
    await this.ready();
    await (await jetstreamManager(this.#nc)).streams.purge(DEAD_STREAM, { filter: deadSubject(webhook) });
  }

  /** Makes the stream, or fits it to the limits. */
  ready(): Promise<void> {
    this.#made ??= this.#make().catch((error: unknown) => {
      this.#made = undefined;
      throw error;
    });
    return this.#made;
  }

  async #make(): Promise<void> {
    const { streams } = await jetstreamManager(this.#nc);
    const settings = {
      subjects: DEAD_SUBJECTS,
      max_msgs_per_subject: this.#limits.WEBHOOK_DEAD,
      max_age: this.#limits.EVENTS_RETENTION_MS * 1_000_000,
      discard: DiscardPolicy.Old,
    };
    const known = await streams.info(DEAD_STREAM).catch(() => undefined);
    if (known !== undefined) await streams.update(DEAD_STREAM, settings);
    else await streams.add({ name: DEAD_STREAM, storage: StorageType.File, retention: RetentionPolicy.Limits, ...settings });
  }
}
