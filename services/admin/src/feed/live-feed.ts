import type { ServerResponse } from 'node:http';
import type { Bus } from '@culvert/bus';
import { CONN_SUBJECTS, CulvertError } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { RunningUses } from '../access/running.ts';
import type { Visitors } from '../visitors.ts';
import { eventsAfter, idOf, positionOf, type StreamState, streamState } from './event-stream.ts';

export interface LiveFeedOptions {
  bus: Pick<Bus, 'nc'>;
  running: RunningUses;
  /** Requests of visitors are in the feed when given. */
  visitors?: Pick<Visitors, 'follow'> | undefined;
}

/** Listeners at once; more are refused. */
const MOST_LISTENERS = 64;
/** Past this nothing is added that comes at most once; what is in the stream waits there. */
const MOST_UNSENT_BYTES = 1024 * 1024;
/** A listener that reads nothing for so long is cut off; it may resume. */
const UNREAD_MS = 30_000;
/** A comment keeps proxies from closing an idle feed. */
const COMMENT_MS = 15_000;
/** Events asked for in advance. */
const AHEAD = 256;

/**
 * `/v1/events`: what happens now, as server-sent events. Those of the stream CULVERT_EVENTS have an id: who comes back with
 * the last one it saw gets what it missed first. conn.* and visitor.request have none, and come at most once, from now on.
 *
 *   opened --Last-Event-ID--> catching up --> live --the listener leaves, reads nothing, loses its rights--> over
 *        \--without it--> live
 */
export const liveFeed: FastifyPluginAsyncTypebox<LiveFeedOptions> = async (app, { bus, running, visitors }) => {
  const ends = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const end of ends) end();
  });

  app.get(
    '/v1/events',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Live feed of events (text/event-stream)',
        description:
          'Last-Event-ID resumes it, as browsers do by themselves. `feed.gap` says that events after that id are not kept any more: read the lists again.',
        querystring: Type.Object({
          device: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,63}$', description: 'Only events about this one' })),
          visitors: Type.Optional(
            Type.Boolean({ default: true, description: 'Also conn.* and visitor.request, which may be many' }),
          ),
        }),
        headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ maxLength: 64 })) }),
        produces: ['text/event-stream'],
      },
    },
    async (request, reply) => {
      if (ends.size >= MOST_LISTENERS) {
        throw new CulvertError('rate_limited', `${MOST_LISTENERS} live feeds are open already`, { retryAfterMs: 5_000 });
      }
      const { device, visitors: wanted = true } = request.query;
      const stop = new AbortController();
      const end = (): void => stop.abort();
      ends.add(end);
      const over = request.operator === null ? () => {} : running.add(request.operator, 'viewer', end);
      reply.raw.once('close', end);
      try {
        const state = await streamState(bus.nc);
        const lastId = request.headers['last-event-id'];
        const start = startOf(state, lastId);
        const consumer = await eventsAfter(bus.nc, start.sequence);
        if (stop.signal.aborted) throw new CulvertError('unavailable', 'this instance stops; ask again');
        reply.hijack();
        const feed = new Feed(reply.raw, stop.signal);
        feed.open(lastId === undefined ? 'live from now on' : 'what was missed, then live');
        if (start.gap !== undefined) feed.send('feed.gap', JSON.stringify({ reason: start.gap }));
        feed.mark(idOf({ stream: state.stream, sequence: start.sequence }));
        const unfollow = wanted ? followVisitors(feed, device) : () => {};
        const messages = await consumer.consume({ max_messages: AHEAD });
        const close = (): void => void messages.close();
        stop.signal.addEventListener('abort', close, { once: true });
        try {
          for await (const message of messages) {
            if (stop.signal.aborted) break;
            const [family, verb, about] = message.subject.split('.');
            const id = idOf({ stream: state.stream, sequence: message.seq });
            if (device === undefined || about === device) await feed.deliver(`${family}.${verb}`, message.string(), id);
            else feed.passed(id);
          }
        } finally {
          unfollow();
          close();
          await consumer.delete().catch(() => {});
        }
      } catch (error) {
        if (!reply.sent) throw error;
        request.log.debug({ event: 'feed.broken', err: error });
      } finally {
        end();
        over();
        ends.delete(end);
        if (reply.sent) reply.raw.destroy();
      }
    },
  );

  /** What comes at most once. */
  function followVisitors(feed: Feed, device: string | undefined): () => void {
    const subscriptions = CONN_SUBJECTS.map((subject) =>
      bus.nc.subscribe(subject.replace(/\*$/, device ?? '*'), {
        callback: (error, message) => {
          if (error === null) feed.offer(message.subject.split('.').slice(0, 2).join('.'), message.string());
        },
      }),
    );
    const unfollow = visitors?.follow((one) => {
      if (device === undefined || one.device === device) feed.offer('visitor.request', JSON.stringify(one));
    });
    return () => {
      unfollow?.();
      for (const subscription of subscriptions) subscription.unsubscribe();
    };
  }
};

/** Where to begin, and why not where the listener was. */
function startOf(state: StreamState, lastId: string | undefined): { sequence: number; gap?: string } {
  if (lastId === undefined || lastId === '') return { sequence: state.last };
  const position = positionOf(lastId);
  if (position === undefined) return { sequence: state.last, gap: 'unknown_id' };
  if (position.stream !== state.stream || position.sequence > state.last) return { sequence: state.last, gap: 'another_stream' };
  if (position.sequence + 1 < state.first) return { sequence: state.first - 1, gap: 'expired' };
  return { sequence: position.sequence };
}

/** One listener's side of the feed. */
class Feed {
  readonly #response: ServerResponse;
  readonly #signal: AbortSignal;
  #leftOut = 0;
  /** Of an event that it was not sent, as it is about another device. */
  #passed: string | undefined;

  constructor(response: ServerResponse, signal: AbortSignal) {
    this.#response = response;
    this.#signal = signal;
    const comment = setInterval(() => this.#comment(), COMMENT_MS);
    signal.addEventListener('abort', () => clearInterval(comment), { once: true });
  }

  open(comment: string): void {
    const headers = { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' };
    this.#response.writeHead(200, headers);
    this.#response.write(`: ${comment}\n\n`);
  }

  /** Who is cut off before the first event comes resumes from here. */
  mark(id: string): void {
    this.#response.write(`id: ${id}\n\n`);
  }

  /** Who resumes need not look at this event again; told with the next comment. */
  passed(id: string): void {
    this.#passed = id;
  }

  send(type: string, json: string, id?: string): boolean {
    // JSON has no line breaks of its own, unless it was laid out for people.
    const data = json.replaceAll(/\r?\n/g, ' ');
    return this.#response.write(`${id === undefined ? '' : `id: ${id}\n`}event: ${type}\ndata: ${data}\n\n`);
  }

  /** Sends it unless the listener is behind: then it is counted only. */
  offer(type: string, json: string): void {
    if (this.#response.writableLength > MOST_UNSENT_BYTES) this.#leftOut += 1;
    else this.send(type, json);
  }

  /** Sends it, and waits for a listener that is behind. @throws CulvertError `write_timeout` */
  async deliver(type: string, json: string, id: string): Promise<void> {
    this.#passed = undefined;
    if (this.send(type, json, id) || this.#response.writableLength < MOST_UNSENT_BYTES / 2) return;
    await new Promise<void>((resolve, reject) => {
      const settle = (error?: CulvertError): void => {
        clearTimeout(timer);
        this.#response.off('drain', onDrain);
        this.#signal.removeEventListener('abort', onDrain);
        if (error === undefined) resolve();
        else reject(error);
      };
      const onDrain = (): void => settle();
      const timer = setTimeout(() => settle(new CulvertError('write_timeout')), UNREAD_MS);
      this.#response.once('drain', onDrain);
      this.#signal.addEventListener('abort', onDrain, { once: true });
    });
  }

  #comment(): void {
    const leftOut = this.#leftOut === 0 ? '' : `; ${this.#leftOut} of conn.* and visitor.request were left out`;
    if (this.#response.writableLength > MOST_UNSENT_BYTES) return;
    this.#leftOut = 0;
    if (this.#passed !== undefined) this.mark(this.#passed);
    this.#passed = undefined;
    this.#response.write(`: still here${leftOut}\n\n`);
  }
}
