import { InstanceId } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import type { Ask } from '../ask.ts';
import { DeviceView, type PublicSide, viewOf } from '../device-view.ts';
import { problems } from '../problem.ts';
import type { Fleet } from './fleet.ts';
import { countFleet, queryFleet, SORT_KEYS, type SortKey, STATE_FILTERS } from './fleet-query.ts';

const Count = Type.Integer({ minimum: 0 });
const ORDERS = SORT_KEYS.flatMap((key) => [key, `-${key}` as const]);

const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  cursor: Type.Optional(Type.String({ maxLength: 512, description: '`cursor` of the page before, of the same list' })),
  label: Type.Optional(
    Type.Array(Type.String({ maxLength: 200 }), {
      maxItems: 8,
      description: 'Only devices with this label, as name=value; several: with all',
    }),
  ),
  q: Type.Optional(
    Type.String({
      maxLength: 128,
      description: 'Only devices with these words in name, labels, host names, ports, address or notes',
    }),
  ),
  state: Type.Optional(
    Type.Array(Type.Enum(STATE_FILTERS), { maxItems: 5, description: 'Only these; reconnecting is a part of grace' }),
  ),
  listener: Type.Optional(InstanceId),
  ingress: Type.Optional(InstanceId),
  sort: Type.Optional(
    Type.Enum(ORDERS, { default: 'name', description: 'With - the other way round; what has no such value comes last' }),
  ),
});

/** `GET /v1/devices` and `GET /v1/fleet`: all devices, as a list that can be sorted and filtered, and as counts. */
export const fleetRoutes: FastifyPluginAsyncTypebox<{ ask: Ask; fleet: Fleet; side: PublicSide }> = async (
  app,
  { ask, fleet, side },
) => {
  app.addHook('onClose', async () => fleet.close());

  app.get(
    '/v1/devices',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'List devices, ordered by name unless told otherwise',
        querystring: ListQuery,
        response: {
          200: Type.Object({
            devices: Type.Array(DeviceView),
            cursor: Type.Union([Type.String(), Type.Null()], { description: 'Asks for the next page; null on the last one' }),
            total: Type.Optional(
              Type.Integer({
                description: 'How many fit; not given for the plain list by name, whose pages are read one by one',
              }),
            ),
          }),
          ...problems(400),
        },
      },
    },
    async (request) => {
      const { limit = 100, cursor, label = [], q, state, listener, ingress, sort = 'name' } = request.query;
      const labels = labelsOf(label);
      const words = q?.trim() || undefined;
      if ([words, state, listener, ingress].every((one) => one === undefined) && sort === 'name') {
        const wanted = { limit, ...(cursor === undefined ? {} : { cursor: plainCursor(cursor) }), ...(labels && { labels }) };
        const page = await ask('device.list', wanted);
        return { devices: page.devices.map(({ lease, ...record }) => viewOf(record, lease, side)), cursor: page.cursor };
      }
      const descending = sort.startsWith('-');
      const key = sort.replace('-', '') as SortKey;
      return queryFleet(await fleet.all(), { q: words, state, labels, listener, ingress, sort: key, descending, limit, cursor });
    },
  );

  app.get(
    '/v1/fleet',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'How many devices there are, by state',
        response: {
          200: Type.Object({
            devices: Count,
            connected: Count,
            reconnecting: Count,
            grace: Count,
            offline: Count,
            revoked: Type.Integer({ description: 'Counted beside their state' }),
          }),
          ...problems(),
        },
      },
    },
    async () => countFleet(await fleet.all()),
  );
};

/** `site=berlin` → {site: 'berlin'}; undefined when no label is asked for. */
function labelsOf(texts: readonly string[]): Record<string, string> | undefined {
  const pairs = texts.map((text): [string, string] => {
    const match = /^([a-z0-9][a-z0-9._-]{0,62})=(.{0,128})$/.exec(text);
    if (match === null) throw new CulvertError('bad_request', `label is ${JSON.stringify(text)}; expected name=value`);
    return [match[1] ?? '', match[2] ?? ''];
  });
  return pairs.length === 0 ? undefined : Object.fromEntries(pairs);
}

/** In the plain list the cursor is a name. */
function plainCursor(cursor: string): string {
  if (/^[a-z0-9-]{1,63}$/.test(cursor)) return cursor;
  throw new CulvertError('bad_request', 'cursor is of another list; expected that of the page before, with the same sort');
}
