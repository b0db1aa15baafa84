import type { CulvertEvent } from '@culvert/bus';
import { EVENTS_STREAM } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { Logger } from '@culvert/service-kit';
import { AckPolicy, type ConsumerMessages, DeliverPolicy, type JsMsg, jetstream, jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/transport-node';

const DURABLE = 'port-allocator';
const RETRY_MS = 2_000;
const ACK_WAIT_NS = 30_000_000_000;

export interface ExpiredDeps {
  store: LeaseStore;
  log: Logger;
  nc: NatsConnection;
}

/**
 * Follows `lease.expired` and takes back what that epoch still holds. The expiry script did so itself; this is for what
 * was held beside the lease. Idempotent, and durable: what happened while no allocator ran is caught up with.
 */
export class ExpiredLeases {
  readonly #deps: ExpiredDeps;
  #messages: ConsumerMessages | undefined;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();
  #wake: () => void = () => {};

  constructor(deps: ExpiredDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    this.#messages?.stop();
    await this.#running;
  }

  async #run(): Promise<void> {
    let warned = false;
    while (!this.#stopped) {
      try {
        await this.#follow();
        warned = false;
      } catch (err) {
        // The stream is made by the first relay; until then there is nothing to follow.
        if (!warned) this.#deps.log.info({ event: 'expired.not_followed', err: String(err) });
        warned = true;
      }
      if (this.#stopped) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, RETRY_MS);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #follow(): Promise<void> {
    const { nc } = this.#deps;
    const jsm = await jetstreamManager(nc);
    await jsm.consumers.add(EVENTS_STREAM, {
      durable_name: DURABLE,
      filter_subject: 'lease.expired.*',
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      ack_wait: ACK_WAIT_NS,
      max_ack_pending: 256,
    });
    const consumer = await jetstream(nc).consumers.get(EVENTS_STREAM, DURABLE);
    const messages = await consumer.consume({ max_messages: 100, expires: 10_000 });
    this.#messages = messages;
    if (this.#stopped) messages.stop();
    for await (const message of messages) await this.#take(message);
  }

  async #take(message: JsMsg): Promise<void> {
    const { store, log } = this.#deps;
    let event: CulvertEvent<'lease.expired'>;
    try {
      event = message.json();
    } catch (err) {
      log.error({ event: 'expired.unreadable', seq: message.seq, err });
      message.term();
      return;
    }
    try {
      const { epoch, listener, endpoints } = event.data;
      const ports = endpoints.map(({ public_port }) => public_port);
      const released = await store.ports.release(event.subject, epoch, listener, ports);
      if (released > 0) log.info({ event: 'ports.taken_back', device: event.subject, epoch, listener, released });
      message.ack();
    } catch (err) {
      log.warn({ event: 'expired.delayed', device: event.subject, err });
      message.nak(RETRY_MS);
    }
  }
}
