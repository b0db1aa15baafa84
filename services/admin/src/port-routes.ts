import { type Bus, DeviceName, InstanceId, SchemeName } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { FLEET_STATES } from './fleet/fleet-device.ts';
import type { FleetWatch } from './fleet/fleet-watch.ts';
import { problems } from './problem.ts';

export interface PortRoutesOptions {
  bus: Pick<Bus, 'request'>;
  watch: Pick<FleetWatch, 'all'>;
}

const Count = Type.Integer({ minimum: 0 });
const ListenerPorts = Type.Object(
  {
    listener: InstanceId,
    ...{ first: Type.Integer(), last: Type.Integer() },
    held: Type.Integer({ minimum: 0, description: 'Some device’s, those in grace included' }),
    free: Type.Integer({ minimum: 0, description: 'May be given out now' }),
    cooling: Type.Integer({ minimum: 0, description: 'Nobody’s, and not given out before their cool-down is over' }),
  },
  { $id: 'ListenerPorts' },
);
const PortView = Type.Object(
  {
    public_port: Type.Integer(),
    listener: InstanceId,
    device: DeviceName,
    state: Type.Enum(FLEET_STATES),
    scheme: SchemeName,
    port: Type.Integer({ description: "The device's own number" }),
  },
  { $id: 'Port' },
);
type Fill = Type.Static<typeof ListenerPorts>;

/** By listener; empty when no port-allocator answers. */
export async function portFill(bus: Pick<Bus, 'request'>): Promise<Map<string, Fill>> {
  return new Map((await ask(bus).catch(() => [])).map((fill) => [fill.listener, fill]));
}

async function ask(bus: Pick<Bus, 'request'>): Promise<Fill[]> {
  const reply = await bus.request('port.fill', {}).catch((cause: unknown) => {
    throw new CulvertError('unavailable', 'no port-allocator answers', { cause });
  });
  return reply.ok ? reply.listeners.sort((a, b) => (a.listener < b.listener ? -1 : 1)) : [];
}

/** `/v1/ports`: how full each listener is, and which public port is whose. */
export const portRoutes: FastifyPluginAsyncTypebox<PortRoutesOptions> = async (app, { bus, watch }) => {
  app.get(
    '/v1/listeners',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'The live listeners with the fill of their ports',
        response: { 200: Type.Object({ listeners: Type.Array(ListenerPorts) }), ...problems() },
      },
    },
    async () => ({ listeners: await ask(bus) }),
  );

  app.get(
    '/v1/ports',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'Public ports that devices have, by listener and number',
        querystring: Type.Object({
          listener: Type.Optional(InstanceId),
          port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535, description: 'This public port alone' })),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
          cursor: Type.Optional(Type.String({ maxLength: 128, pattern: '^[a-z0-9-]+:[0-9]{1,5}$' })),
        }),
        response: {
          200: Type.Object({
            ports: Type.Array(PortView),
            total: Count,
            cursor: Type.Union([Type.String(), Type.Null()]),
          }),
          ...problems(400),
        },
      },
    },
    async ({ query: { listener, port, limit = 100, cursor } }) => {
      const ports: Type.Static<typeof PortView>[] = [];
      for (const { name: device, state, listener: its, endpoints } of (await watch.all()).devices) {
        if (its === '' || (listener !== undefined && its !== listener)) continue;
        for (const { public_port, scheme, port: own } of endpoints) {
          if (port !== undefined && public_port !== port) continue;
          ports.push({ public_port, listener: its, device, state, scheme, port: own });
        }
      }
      ports.sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
      const [after = '', number = ''] = cursor?.split(':') ?? [];
      const behind = keyOf({ listener: after, public_port: Number(number) });
      const rest = cursor === undefined ? ports : ports.filter((one) => keyOf(one) > behind);
      const page = rest.slice(0, limit);
      const last = page.at(-1);
      const more = rest.length > limit && last !== undefined;
      return { ports: page, total: ports.length, cursor: more ? `${last.listener}:${last.public_port}` : null };
    },
  );
};

const keyOf = ({ listener, public_port }: { listener: string; public_port: number }): string =>
  `${listener}:${String(public_port).padStart(5, '0')}`;
