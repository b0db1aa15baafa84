import { type Bus, InstanceId } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import { listAllInstances } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { Redis } from 'ioredis';
import Type from 'typebox';
import type { FleetWatch } from './fleet/fleet-watch.ts';
import { portFill } from './port-routes.ts';
import { problems } from './problem.ts';

export interface InstanceListOptions {
  redis: Redis;
  bus: Pick<Bus, 'request'>;
  watch: Pick<FleetWatch, 'all'>;
}

const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const Time = Type.Integer({ description: 'Milliseconds since 1970' });
const Count = Type.Integer({ minimum: 0 });
const InstanceView = Type.Object(
  {
    id: InstanceId,
    service: Type.String(),
    state: Type.Enum(['live', 'winding_down', 'gone'], {
      description: 'gone: it has not renewed in time and did not say goodbye; shown for ten minutes',
    }),
    address: Type.String({ description: 'host:port of its own server; empty when it has none' }),
    started_at: orNull(Time),
    load: orNull(
      Type.Object({
        at: Time,
        cpu: Type.Number({ description: 'Share of one core; above 1 when other threads worked, too' }),
        loop: Type.Number({ description: 'Share of the time in which the event loop had work' }),
        memory: Type.Integer({ description: 'Resident, bytes' }),
        counts: Type.Record(Type.String(), Count),
      }),
    ),
    devices: orNull(Type.Integer({ description: 'Devices that it serves; null where that means nothing' })),
    ports: orNull(
      Type.Object(
        { first: Type.Integer(), last: Type.Integer(), leased: Count, free: orNull(Count), cooling: orNull(Count) },
        {
          description:
            'tcp-listener: its range, and how many are a device’s, those in grace included; free ones may be given out now, cooling ones later (null: port-allocator does not answer)',
        },
      ),
    ),
  },
  { $id: 'Instance' },
);
type InstanceView = Type.Static<typeof InstanceView>;

/** The service is the id without its last part where nothing else is known of an instance. */
const serviceOfId = (id: string): string => id.replace(/-[^-]*$/, '');

/** `/v1/instances`: the running processes, how busy they are, and what they serve. */
export const instanceList: FastifyPluginAsyncTypebox<InstanceListOptions> = async (app, { redis, bus, watch }) => {
  app.get(
    '/v1/instances',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Every instance of every service, with its load; those that wind down or vanished included',
        response: { 200: Type.Object({ instances: Type.Array(InstanceView) }), ...problems() },
      },
    },
    async () => {
      const seen = await listAllInstances(redis).catch((cause: unknown) => {
        throw new CulvertError('unavailable', 'Redis does not answer', { cause });
      });
      const { devices } = await watch.all().catch(() => ({ devices: [] })); // without a lease-manager the instances are worth seeing all the more
      const fills = await portFill(bus);
      const served = new Map<string, { devices: number; ports: number }>();
      for (const { listener, ingress, state, endpoints } of devices) {
        for (const id of state === 'connected' ? [listener, ingress] : [listener]) {
          if (id === '') continue;
          const one = served.get(id) ?? { devices: 0, ports: 0 };
          served.set(id, { devices: one.devices + 1, ports: one.ports + endpoints.length });
        }
      }
      const instances = seen.map(({ id, record }): InstanceView => {
        const service = record?.service ?? serviceOfId(id);
        const its = served.get(id) ?? { devices: 0, ports: 0 };
        const load = record?.load;
        return {
          ...{
            id,
            service,
            state: record?.state ?? 'gone',
            address: record?.address ?? '',
            started_at: record?.started_at ?? null,
          },
          load: load === undefined ? null : { ...load, counts: { ...load.counts } },
          devices: service === 'ws-ingress' || service === 'tcp-listener' ? its.devices : null,
          ports:
            record?.ports === undefined
              ? null
              : {
                  ...{ first: record.ports[0], last: record.ports[1], leased: its.ports },
                  ...{ free: fills.get(id)?.free ?? null, cooling: fills.get(id)?.cooling ?? null },
                },
        };
      });
      return { instances };
    },
  );
};
