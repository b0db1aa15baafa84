import { type KeptRecord, Labels, Notes, type Records } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import { createEnrolmentKey, digestOf, randomId } from '@culvert/service-kit';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from './problem.ts';

const DAY = 24 * 3_600_000;
const MOST_MS = 3_650 * DAY;
const Time = Type.Integer({ minimum: 0, description: 'Milliseconds since 1970' });
const orNull = <T extends Type.TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const KeyView = Type.Object(
  {
    id: Type.String(),
    labels: Labels,
    notes: Notes,
    uses_left: orNull(Type.Integer()),
    created_at: Time,
    created_by: Type.String(),
    expires_at: orNull(Time),
  },
  { $id: 'EnrolmentKey' },
);
type KeyView = Type.Static<typeof KeyView>;

function viewOf({ id, value, expires_at }: KeptRecord<'enrolment'>): KeyView {
  const { labels, notes, uses_left, created_at, created_by } = value;
  return { id, labels, notes, uses_left, created_at, created_by, expires_at };
}

/** `/v1/enrolment-keys`: keys with which devices fetch their own tokens at their first start. */
export const enrolmentKeyRoutes: FastifyPluginAsyncTypebox<{ records: Records }> = async (app, { records }) => {
  app.post(
    '/v1/enrolment-keys',
    {
      config: { role: 'operator', audit: 'enrolment.add' },
      schema: {
        summary: 'Make an enrolment key',
        body: Type.Object({
          labels: Type.Optional(Labels),
          notes: Type.Optional(Notes),
          uses: Type.Optional(
            orNull(Type.Integer({ minimum: 1, maximum: 1_000_000, description: 'null: any number; default 1' })),
          ),
          expires_in_ms: Type.Optional(
            orNull(Type.Integer({ minimum: 1_000, maximum: MOST_MS, description: 'null: never; default a day' })),
          ),
        }),
        response: {
          201: Type.Object({
            ...KeyView.properties,
            key: Type.String({ description: 'Shown this once: only its digest is stored' }),
          }),
          ...problems(400),
        },
      },
    },
    async (request, reply) => {
      const { labels = {}, notes = '', uses = 1, expires_in_ms = DAY } = request.body;
      const id = randomId(6)
        .toLowerCase()
        .replaceAll(/[^a-z0-9]/g, '0');
      const key = createEnrolmentKey(id);
      request.audited.object = id;
      Object.assign(request.audited.detail, { uses, expires_in_ms });
      const created = { created_at: Date.now(), created_by: request.operator?.name ?? '' };
      const value = { key_digest: digestOf(key), labels, notes, uses_left: uses, ...created };
      const options = { expected: 0, ...(expires_in_ms === null ? {} : { ttlMs: expires_in_ms }) };
      return reply.code(201).send({ ...viewOf(await records.put('enrolment', id, value, options)), key });
    },
  );

  app.get(
    '/v1/enrolment-keys',
    {
      config: { role: 'viewer' },
      schema: {
        summary: 'List enrolment keys',
        querystring: Type.Object({
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
          cursor: Type.Optional(Type.String({ maxLength: 128, pattern: '^[a-z0-9]+$' })),
        }),
        response: { 200: Type.Object({ keys: Type.Array(KeyView), cursor: orNull(Type.String()) }), ...problems(400) },
      },
    },
    async ({ query: { limit = 100, cursor } }) => {
      const page = await records.list('enrolment', { limit, cursor });
      return { keys: page.records.map(viewOf), cursor: page.cursor };
    },
  );

  app.delete(
    '/v1/enrolment-keys/:id',
    {
      config: { role: 'operator', audit: 'enrolment.delete' },
      schema: {
        summary: 'Withdraw an enrolment key; devices that have enrolled with it stay',
        params: Type.Object({ id: Type.String({ maxLength: 128 }) }),
        response: { 200: Type.Object({ id: Type.String(), withdrawn: Type.Literal(true) }), ...problems(404) },
      },
    },
    async ({ params: { id } }) => {
      if (!/^[a-z0-9]+$/.test(id) || !(await records.delete('enrolment', id))) {
        throw new CulvertError('not_found', `there is no enrolment key ${id}`);
      }
      return { id, withdrawn: true as const };
    },
  );
};
