import { type Bus, errorOfRefusal, type Records } from '@culvert/bus';
import { CulvertError, faultOfDeviceName } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';

const Bytes = Type.Integer({ minimum: 0 });
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const DayView = Type.Object({
  day: Type.String({ description: 'UTC, YYYY-MM-DD' }),
  total: Bytes,
  to_device: Type.Integer({ description: 'Payload of transfers, from visitors' }),
  to_visitor: Type.Integer({ description: 'Payload of transfers, to visitors' }),
  control: Type.Integer({ description: 'Control connection: messages and heartbeats with the headers of their frames' }),
});

/** `/v1/devices/:name/usage`: what a device has moved day by day, and what its policy says about it. */
export const usageRoutes: FastifyPluginAsyncTypebox<{ bus: Pick<Bus, 'request'>; records: Records }> = async (
  app,
  { bus, records },
) => {
  app.get(
    '/v1/devices/:name/usage',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Bytes that a device has moved, today first',
        params: Type.Object({ name: Type.String() }),
        querystring: Type.Object({ days: Type.Optional(Type.Integer({ minimum: 1, maximum: 40, default: 7 })) }),
        response: { 200: Type.Object({ days: Type.Array(DayView), alert: orNull(Bytes), cap: orNull(Bytes) }), ...problems(400) },
      },
    },
    async (request) => {
      const { name } = request.params;
      const fault = faultOfDeviceName(name);
      if (fault !== undefined) throw new CulvertError('bad_request', fault);
      const [reply, policy] = await Promise.all([
        bus.request('usage.get', { device: name, days: request.query.days ?? 7 }).catch((cause: unknown) => {
          throw new CulvertError('unavailable', 'no lease-manager answers', { cause });
        }),
        records.get('policy', name),
      ]);
      if (!reply.ok) throw errorOfRefusal(reply);
      return {
        days: reply.days.map((day) => ({ ...day, total: day.to_device + day.to_visitor + day.control })),
        alert: policy?.value.day_bytes_alert ?? null,
        cap: policy?.value.day_bytes_cap ?? null,
      };
    },
  );
};
