import type { Bus } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from '../problem.ts';
import { newestEvents } from './event-stream.ts';

const EventView = Type.Object(
  {
    id: Type.String(),
    type: Type.String(),
    subject: Type.String({ description: 'The device' }),
    time: Type.String(),
    data: Type.Object({}, { additionalProperties: true }),
  },
  { $id: 'Event', additionalProperties: true, description: 'A CloudEvents 1.0 object; docs/EVENTS.md has its types' },
);

/** `/v1/devices/:name/events`: what has happened to a device, as far as the stream of events goes back. */
export const historyRoutes: FastifyPluginAsyncTypebox<{ bus: Pick<Bus, 'nc'> }> = async (app, { bus }) => {
  app.get(
    '/v1/devices/:name/events',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The last events about a device, newest first',
        params: Type.Object({ name: Type.String() }),
        querystring: Type.Object({
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 500, default: 50 })),
          cursor: Type.Optional(Type.Integer({ minimum: 1, description: '`cursor` of the page before' })),
        }),
        response: {
          200: Type.Object({ events: Type.Array(EventView), cursor: Type.Union([Type.Integer(), Type.Null()]) }),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const { limit = 50, cursor } = request.query;
      return newestEvents(bus.nc, name, limit, cursor);
    },
  );
};
