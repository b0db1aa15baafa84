import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from '../problem.ts';
import { Trace } from './steps.ts';
import { type TraceDeps, trace } from './trace.ts';

/** `/v1/devices/:name/trace`: why can I not reach it? */
export const traceRoutes: FastifyPluginAsyncTypebox<TraceDeps> = async (app, deps) => {
  let running = 0;
  app.get(
    '/v1/devices/:name/trace',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Follow the way of a visitor to each endpoint of a device: the time of each step, or why it fails',
        description: 'The device is really dialled: its local targets see a connection that is opened and closed.',
        params: Type.Object({ name: Type.String() }),
        response: { 200: Trace, ...problems(400, 404, 429) },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      if (running >= deps.limits.TRACES) {
        throw new CulvertError('rate_limited', `${running} traces run here already`, { retryAfterMs: 5_000 });
      }
      running += 1;
      try {
        return await trace(name, deps);
      } finally {
        running -= 1;
      }
    },
  );
};
