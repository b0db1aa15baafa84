import type { Bus } from '@culvert/bus';
import { CONN_SUBJECTS, CulvertError, EVENTS_SUBJECTS } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { RunningUses } from './access/running.ts';
import type { Visitors } from './visitors.ts';

export interface LiveFeedOptions {
  bus: Pick<Bus, 'nc'>;
  running: RunningUses;
  /** Requests of visitors are in the feed when given. */
  visitors?: Pick<Visitors, 'follow'> | undefined;
}

/** Listeners at once; more are refused. */
const MOST_LISTENERS = 64;
/** A listener that is this far behind is cut off: nothing is kept for it. */
const MOST_UNSENT_BYTES = 1024 * 1024;
/** A comment keeps proxies from closing an idle feed. */
const COMMENT_MS = 15_000;

/** `/v1/events`: what happens now, as server-sent events. At most once, from now on; integrators who must not miss any use JetStream. */
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
        querystring: Type.Object({
          device: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,63}$', description: 'Only events about this one' })),
        }),
        produces: ['text/event-stream'],
      },
    },
    (request, reply) => {
      if (ends.size >= MOST_LISTENERS) {
        throw new CulvertError('rate_limited', `${MOST_LISTENERS} live feeds are open already`, { retryAfterMs: 5_000 });
      }
      const { device } = request.query;
      reply.hijack();
      const response = reply.raw;
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
      response.write(': live from now on\n\n');
      const subjects = [...EVENTS_SUBJECTS, ...CONN_SUBJECTS].map((subject) => subject.replace(/\*$/, device ?? '*'));
      const subscriptions = subjects.map((subject) =>
        bus.nc.subscribe(subject, {
          callback: (error, message) => {
            if (error !== null) return;
            // JSON has no line breaks of its own, unless it was laid out for people.
            const data = message.string().replaceAll(/\r?\n/g, ' ');
            response.write(`event: ${message.subject.split('.').slice(0, 2).join('.')}\ndata: ${data}\n\n`);
            if (response.writableLength > MOST_UNSENT_BYTES) end();
          },
        }),
      );
      const unfollow = visitors?.follow((one) => {
        if (device !== undefined && one.device !== device) return;
        response.write(`event: visitor.request\ndata: ${JSON.stringify(one)}\n\n`);
        if (response.writableLength > MOST_UNSENT_BYTES) end();
      });
      const comment = setInterval(() => response.write(': still here\n\n'), COMMENT_MS);
      const over = request.operator === null ? () => {} : running.add(request.operator, 'viewer', end);
      function end(): void {
        over();
        ends.delete(end);
        clearInterval(comment);
        unfollow?.();
        for (const subscription of subscriptions) subscription.unsubscribe();
        response.destroy();
      }
      ends.add(end);
      response.once('close', end);
    },
  );
};
