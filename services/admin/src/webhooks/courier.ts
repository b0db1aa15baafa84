import { setTimeout as delay } from 'node:timers/promises';
import type { AnyEvent, RecordValue } from '@culvert/bus';
import type { Limits } from '@culvert/contracts';
import type { Consumer, JsMsg } from '@nats-io/jetstream';
import { type PostResult, post } from './post.ts';

export type Webhook = RecordValue<'webhook'>;

/** Events that are being delivered at once, of different devices. */
const AT_ONCE = 8;
/** Events that wait for one that failed, or for their turn. */
export const UNDER_WAY = 64;
/** The server gives an event to the next owner when it heard nothing of it for so long. */
export const ACK_WAIT_MS = 60_000;
/** A delivery that is to end looks this often whether anything is left: the last of it may have been removed meanwhile. */
const LEFT_MS = 2_000;
/** However old an event is, it gets so many attempts. */
const FEWEST_ATTEMPTS = 3;
/** The longest wait is so many times the first one. */
const MOST_WAITS = 120;

export interface CourierDeps {
  limits: Pick<Limits, 'WEBHOOK_ANSWER_MS' | 'WEBHOOK_RETRY_MS' | 'WEBHOOK_EVENT_MS'>;
  privateAllowed: boolean;
  /** Ends it; what is not delivered by then stays with the server. */
  signal: AbortSignal;
  /** The webhook as it is by now. */
  webhook(): Webhook;
  onResult(result: PostResult): void;
  /** The event was given up. What is thrown here gives it back to the server. */
  onDead(event: AnyEvent, text: string, last: string): Promise<void>;
  onDelivered?(message: JsMsg): Promise<void>;
  /** Attempts after which it is given up, however young; unbounded by default. */
  mostAttempts?: number;
  /** It is over with this message of the stream, or before, when nothing is left. Default: it goes on for ever. */
  until?: number;
}

/**
 * Delivers what a consumer has: at least once, one after the other for each device, several devices side by side.
 *
 *   taken --2xx--> acknowledged
 *     |  \--failed--> waiting --> sent again ...
 *     \--not wanted, or given up after WEBHOOK_EVENT_MS: a dead letter--> acknowledged
 */
export async function deliverAll(consumer: Consumer, deps: CourierDeps): Promise<void> {
  if (deps.until !== undefined && (await consumer.info()).num_pending === 0) return;
  const chains = new Map<string, Promise<void>>();
  const underWay = new Set<JsMsg>();
  const working = setInterval(() => {
    for (const message of underWay) message.working();
  }, ACK_WAIT_MS / 4);
  const messages = await consumer.consume({ max_messages: UNDER_WAY });
  const stop = (): void => void messages.close();
  deps.signal.addEventListener('abort', stop, { once: true });
  const turns = new Turns(AT_ONCE);
  const leaving = deps.until === undefined ? undefined : setInterval(() => void closeWhenEmpty(consumer, stop), LEFT_MS);
  try {
    for await (const message of messages) {
      if (deps.signal.aborted) break;
      const { subject } = message.json<AnyEvent>();
      underWay.add(message);
      const chain = (chains.get(subject) ?? Promise.resolve())
        .then(() => deliverOne(message, deps, turns))
        .catch(() => message.nak(deps.limits.WEBHOOK_RETRY_MS))
        .finally(() => {
          underWay.delete(message);
          if (chains.get(subject) === chain) chains.delete(subject);
        });
      chains.set(subject, chain);
      if (deps.until !== undefined && (message.seq >= deps.until || message.info.pending === 0)) break;
    }
    await Promise.all(chains.values());
  } finally {
    clearInterval(working);
    clearInterval(leaving);
    deps.signal.removeEventListener('abort', stop);
    await messages.close();
  }
}

async function closeWhenEmpty(consumer: Consumer, close: () => void): Promise<void> {
  const left = await consumer.info().catch(() => undefined);
  if (left?.num_pending === 0 && left.num_ack_pending === 0) close();
}

async function deliverOne(message: JsMsg, deps: CourierDeps, turns: Turns): Promise<void> {
  const { limits, signal } = deps;
  const text = message.string();
  const event = message.json<AnyEvent>();
  if (!wants(deps.webhook(), event)) return void message.ack();
  const since = message.info.timestampNanos / 1e6;
  for (let attempt = 1; ; attempt++) {
    const { url, secret } = deps.webhook();
    if (signal.aborted) return message.nak();
    const result = await turns.run(() => {
      const letter = { url, secret, id: event.id, body: text };
      return post(letter, { deadlineMs: limits.WEBHOOK_ANSWER_MS, privateAllowed: deps.privateAllowed, signal });
    });
    if (!result.ok && signal.aborted) return message.nak();
    deps.onResult(result);
    if (result.ok) {
      await deps.onDelivered?.(message);
      return void message.ack();
    }
    const old = Date.now() - since > limits.WEBHOOK_EVENT_MS && attempt >= FEWEST_ATTEMPTS;
    if (old || attempt >= (deps.mostAttempts ?? Number.POSITIVE_INFINITY)) {
      await deps.onDead(event, text, result.reason);
      return void message.ack();
    }
    await delay(Math.max(result.retryAfterMs ?? 0, waitAfter(attempt, limits.WEBHOOK_RETRY_MS)), undefined, { signal }).catch(
      () => {},
    );
  }
}

/** Doubles up to 120 times the first one; between half and all of that, so that receivers are not met in step. */
export function waitAfter(attempt: number, firstMs: number, random = Math.random()): number {
  return Math.min(firstMs * 2 ** Math.min(attempt - 1, 20), firstMs * MOST_WAITS) * (0.5 + random / 2);
}

export function wants({ types, devices }: Pick<Webhook, 'types' | 'devices'>, event: { type: string; subject: string }): boolean {
  const typed = types.some((type) => type === event.type || (type.endsWith('.*') && event.type.startsWith(type.slice(0, -1))));
  return (types.length === 0 || typed) && (devices.length === 0 || devices.includes(event.subject));
}

/** At most so many at once; the others in the order in which they came. */
class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#free = most;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((turn) => this.#waiting.push(turn));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }
}
