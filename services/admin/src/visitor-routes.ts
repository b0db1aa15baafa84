import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';
import type { Visitors } from './visitors.ts';

const Time = Type.Integer({ description: 'Milliseconds since 1970' });
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const RequestView = Type.Object({
  id: Type.String({ description: "As in the edge's log and in `Culvert-Visitor`" }),
  at: Time,
  host: Type.String(),
  remote: Type.String(),
  method: Type.String(),
  path: Type.String({ description: 'Without the query' }),
  status: Type.Integer(),
  outcome: Type.String(),
  ms: Type.Integer(),
  bytes_in: Type.Integer(),
  bytes_out: Type.Integer(),
});
const TcpView = Type.Object({
  id: Type.String({ description: '`conn` of the events' }),
  at: Time,
  remote: Type.String(),
  port: Type.Integer({ description: "The device's own number" }),
  outcome: orNull(Type.String({ description: 'null while it goes on' })),
  ms: orNull(Type.Integer()),
  to_device: orNull(Type.Integer()),
  to_visitor: orNull(Type.Integer()),
});

/** `/v1/devices/:name/visitors`: who was there last. Those who come from now on are in the live feed. */
export const visitorRoutes: FastifyPluginAsyncTypebox<{ visitors: Visitors }> = async (app, { visitors }) => {
  app.get(
    '/v1/devices/:name/visitors',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The last visitors of a device, newest first: requests at the edge, and visitors of tcp endpoints',
        params: Type.Object({ name: Type.String() }),
        querystring: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 50 })) }),
        response: { 200: Type.Object({ requests: Type.Array(RequestView), tcp: Type.Array(TcpView) }), ...problems(400) },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const limit = request.query.limit ?? 50;
      const requests = await visitors.requests(name, limit).catch((cause: unknown) => {
        throw new CulvertError('unavailable', 'Redis does not answer', { cause });
      });
      return { requests, tcp: visitors.tcp(name, limit) };
    },
  );
};
