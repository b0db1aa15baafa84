import { setTimeout as delay } from 'node:timers/promises';
import type { KeptRecord } from '@culvert/bus';
import { DEAD_STREAM, EVENTS_STREAM } from '@culvert/contracts';
import { AckPolicy, type Consumer, DeliverPolicy, jetstream, jetstreamManager } from '@nats-io/jetstream';
import { ACK_WAIT_MS, type CourierDeps, deliverAll, UNDER_WAY, type Webhook } from './courier.ts';
import { deadSubject } from './dead-letters.ts';
import type { OwnersDeps } from './owners-deps.ts';
import type { PostResult } from './post.ts';
import { consumerOf } from './registry.ts';

/** Between two attempts to reach the server's consumer. */
const AGAIN_MS = 2_000;
/** A dead letter that is sent again gets so many attempts before it stays one. */
const REPLAY_ATTEMPTS = 3;
const NANOS = 1_000_000;

/**
 * The deliveries of one webhook while this instance owns it:
 *
 *   on --nothing delivered for WEBHOOK_DISABLE_MS, or 410 Gone--> disabled --enabled by an operator--> on
 *
 * and beside it, in either state, a replay when an operator asked for one. Never rejects.
 */
export class DeliveryLife {
  readonly #deps: OwnersDeps;
  #record: KeptRecord<'webhook'>;
  #delivering: { end: AbortController; over: Promise<void> } | undefined;
  #replaying: { id: string; end: AbortController; over: Promise<void> } | undefined;
  /** Since the first of the attempts that failed with none that did not; in this life. */
  #failingSince: number | undefined;

  constructor(record: KeptRecord<'webhook'>, deps: OwnersDeps) {
    this.#deps = deps;
    this.#record = record;
    this.changed(record);
  }

  /** Fits what runs to the record. */
  changed(record: KeptRecord<'webhook'>): void {
    this.#record = record;
    const { state, replay } = record.value;
    if (state.kind === 'on' && this.#delivering === undefined) {
      const end = new AbortController();
      this.#failingSince = undefined;
      this.#delivering = { end, over: this.#deliver(end.signal) };
    } else if (state.kind !== 'on' && this.#delivering !== undefined) {
      this.#delivering.end.abort();
      this.#delivering = undefined;
    }
    if (replay !== undefined && this.#replaying === undefined) {
      const end = new AbortController();
      this.#replaying = { id: replay.id, end, over: this.#replay(replay, end.signal) };
      void this.#replaying.over.finally(() => {
        this.#replaying = undefined;
      });
    }
  }

  async stop(): Promise<void> {
    const running = [this.#delivering, this.#replaying];
    for (const one of running) one?.end.abort();
    await Promise.all(running.map((one) => one?.over));
  }

  /** For ever, until the signal. */
  async #deliver(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await deliverAll(
          await jetstream(this.#deps.nc).consumers.get(EVENTS_STREAM, consumerOf(this.#record.id)),
          this.#courier(signal),
        );
      } catch (err) {
        this.#deps.log.warn({ event: 'webhook.interrupted', webhook: this.#record.id, err: String(err) });
      }
      await delay(AGAIN_MS, undefined, { signal }).catch(() => {});
    }
  }

  #courier(signal: AbortSignal): CourierDeps {
    const { limits, privateAllowed, dead, metrics, log } = this.#deps;
    const { id } = this.#record;
    return {
      ...{ limits, privateAllowed, signal },
      webhook: () => this.#record.value,
      onResult: (result) => this.#note(result),
      onDead: async (event, text, reason) => {
        await dead.add(id, text, reason);
        metrics.dead.inc();
        log.warn({ event: 'webhook.dead_letter', webhook: id, about: event.id, reason });
      },
    };
  }

  #note(result: PostResult): void {
    this.#deps.metrics.attempts.inc({ outcome: result.ok ? 'ok' : result.outcome });
    if (result.ok) {
      this.#failingSince = undefined;
      return;
    }
    this.#failingSince ??= Date.now();
    const { id, value } = this.#record;
    const long = Date.now() - this.#failingSince > this.#deps.limits.WEBHOOK_DISABLE_MS;
    if (value.state.kind !== 'on' || (!long && result.outcome !== 'gone')) return;
    const reason = long ? `nothing could be delivered for long: ${result.reason}` : 'the receiver said 410 Gone';
    this.#deps.log.warn({ event: 'webhook.disabled', webhook: id, reason });
    void this.#save({ state: { kind: 'disabled', at: Date.now(), reason: reason.slice(0, 300) } }).catch(() => {});
  }

  async #replay(replay: NonNullable<Webhook['replay']>, signal: AbortSignal): Promise<void> {
    const { nc, dead, log } = this.#deps;
    const { id } = this.#record;
    while (!signal.aborted) {
      try {
        const ofDead = replay.stream === 'dead';
        const courier = { ...this.#courier(signal), mostAttempts: REPLAY_ATTEMPTS, until: replay.until };
        await deliverAll(await this.#replayConsumer(replay), {
          ...courier,
          // A dead letter that fails again stays where it is.
          ...(ofDead ? { onDead: async () => {}, onDelivered: async ({ seq }: { seq: number }) => dead.remove(seq) } : {}),
        });
        if (signal.aborted) return;
        await (await jetstreamManager(nc)).consumers
          .delete(ofDead ? DEAD_STREAM : EVENTS_STREAM, replayName(id, replay.id))
          .catch(() => {});
        await this.#save({ replay: undefined }); // when that fails, the whole is tried again: nothing is left to be sent
        log.info({ event: 'webhook.replayed', webhook: id });
        return;
      } catch (err) {
        log.warn({ event: 'webhook.replay_interrupted', webhook: id, err: String(err) });
        await delay(AGAIN_MS, undefined, { signal }).catch(() => {});
      }
    }
  }

  /** Durable: the next owner goes on where this one was. */
  async #replayConsumer({ id, stream, since }: NonNullable<Webhook['replay']>): Promise<Consumer> {
    const webhook = this.#record.id;
    const name = replayName(webhook, id);
    const { consumers } = await jetstreamManager(this.#deps.nc);
    const from = stream === 'dead' ? DEAD_STREAM : EVENTS_STREAM;
    if ((await consumers.info(from, name).catch(() => undefined)) === undefined) {
      await consumers.add(from, {
        durable_name: name,
        ack_policy: AckPolicy.Explicit,
        ack_wait: ACK_WAIT_MS * NANOS,
        max_ack_pending: UNDER_WAY,
        inactive_threshold: this.#deps.limits.EVENTS_RETENTION_MS * NANOS,
        ...(stream === 'dead'
          ? { deliver_policy: DeliverPolicy.All, filter_subject: deadSubject(webhook) }
          : { deliver_policy: DeliverPolicy.StartTime, opt_start_time: new Date(since).toISOString() }),
      });
    }
    return jetstream(this.#deps.nc).consumers.get(from, name);
  }

  /** Changes the record as it stands in the registry; what fails is tried again at the next occasion. */
  async #save(change: { state?: Webhook['state']; replay?: undefined }): Promise<void> {
    const { records, log } = this.#deps;
    try {
      const now = await records.get('webhook', this.#record.id);
      if (now === null) return;
      const { replay, ...rest } = now.value;
      const value = { ...rest, ...('replay' in change || replay === undefined ? {} : { replay }) };
      this.#record = await records.put(
        'webhook',
        now.id,
        { ...value, ...(change.state && { state: change.state }) },
        { expected: now.revision },
      );
    } catch (err) {
      log.warn({ event: 'webhook.not_saved', webhook: this.#record.id, err: String(err) });
      throw err;
    }
  }
}

const replayName = (webhook: string, replay: string): string => `${consumerOf(webhook)}-${replay}`;
