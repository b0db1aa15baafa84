import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { RunningUses } from '../access/running.ts';
import { problems } from '../problem.ts';
import { FLEET_STATES, FleetDevice } from './fleet-device.ts';
import type { FleetChange, FleetWatch } from './fleet-watch.ts';
import type { Traffic } from './traffic.ts';

export interface FeedRoutesOptions {
  watch: FleetWatch;
  traffic: Traffic;
  running: RunningUses;
}

/** Listeners at once; more are refused. */
const MOST_LISTENERS = 64;
/** A listener that is this far behind is cut off; it holds one change of every device of a big fleet. */
const MOST_UNSENT_BYTES = 16 * 1024 * 1024;
const COMMENT_MS = 15_000;
const BUSIEST = 24;
const compress = promisify(gzip);

const Count = Type.Integer({ minimum: 0 });
const Counts = Type.Object(Object.fromEntries(FLEET_STATES.map((state) => [state, Count])));
const Numbers = Type.Array(Count);
const SeriesView = {
  from: Type.Integer({ description: 'When the first step began; milliseconds since 1970' }),
  step_ms: Type.Integer(),
  steps: Type.Array(Type.Object({ requests: Count, tcp: Count, failed: Count, bytes_in: Count, bytes_out: Count }), {
    description: 'The last one is not over yet',
  }),
};

/** All devices at a glance, and how much they are visited: for the dashboard, which looks at all of them at once. */
export const feedRoutes: FastifyPluginAsyncTypebox<FeedRoutesOptions> = async (app, { watch, traffic, running }) => {
  const ends = new Set<() => void>();
  app.addHook('preClose', async () => {
    for (const end of ends) end();
  });
  app.get(
    '/v1/fleet/devices',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Every device in one answer, as short as it can be',
        description: 'At most half a second behind. Changes from now on: /v1/fleet/feed.',
        response: { 200: Type.Object({ counts: Counts, devices: Type.Array(FleetDevice) }), ...problems() },
      },
      // By hand: the answer is long, and the schema has nothing to leave out of it.
      serializerCompiler: () => (body) => JSON.stringify(body),
    },
    async (request, reply) => {
      const body = await watch.all();
      if (!/\bgzip\b/.test(request.headers['accept-encoding'] ?? '')) return body;
      const packed = await compress(JSON.stringify(body), { level: 1 });
      reply.header('content-encoding', 'gzip').header('vary', 'accept-encoding').type('application/json; charset=utf-8');
      return reply.send(packed as never);
    },
  );

  app.get(
    '/v1/fleet/feed',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Changes of devices from now on (text/event-stream)',
        description:
          'Begins with `event: begin`; then `event: change` with devices as in /v1/fleet/devices, names of those that are gone, and counts. Whoever asks /v1/fleet/devices after `begin` misses nothing.',
        produces: ['text/event-stream'],
      },
    },
    async (request, reply) => {
      if (ends.size >= MOST_LISTENERS) {
        throw new CulvertError('rate_limited', `${MOST_LISTENERS} feeds are open already`, { retryAfterMs: 5_000 });
      }
      const { counts } = await watch.all();
      reply.hijack();
      const response = reply.raw;
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
      const send = (event: string, data: unknown): void => {
        response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
        if (response.writableLength > MOST_UNSENT_BYTES) end();
      };
      const unfollow = watch.follow((change: FleetChange) => send('change', change));
      const comment = setInterval(() => response.write(': still here\n\n'), COMMENT_MS);
      const over = request.operator === null ? () => {} : running.add(request.operator, 'viewer', end);
      function end(): void {
        over();
        ends.delete(end);
        clearInterval(comment);
        unfollow();
        response.destroy();
      }
      ends.add(end);
      response.once('close', end);
      send('begin', { counts });
    },
  );

  app.get(
    '/v1/traffic',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'How much is visited: the last hour, and who is visited most',
        description: 'As this instance has seen it since its start.',
        response: {
          200: Type.Object({
            ...SeriesView,
            busiest: Type.Array(Type.Object({ device: Type.String(), visits: Count, minutes: Numbers })),
          }),
          ...problems(),
        },
      },
    },
    async () => ({ ...traffic.series(), busiest: traffic.busiest(BUSIEST) }),
  );

  app.get(
    '/v1/devices/:name/traffic',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'How much a device is visited: the last hour',
        description: 'As this instance has seen it since its start; bytes of a day: /v1/devices/{name}/usage.',
        params: Type.Object({ name: Type.String({ maxLength: 256 }) }),
        response: { 200: Type.Object(SeriesView), ...problems(400) },
      },
    },
    async (request) => {
      const fault = faultOfDeviceName(request.params.name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      return traffic.series(request.params.name);
    },
  );
};
