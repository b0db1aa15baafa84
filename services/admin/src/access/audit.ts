import { AuditEntry, type AuditLog } from '@culvert/bus';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from '../problem.ts';

/** `/v1/audit`: who did what to which object, from where. */
export const auditRoutes: FastifyPluginAsyncTypebox<{ audit: AuditLog }> = async (app, { audit }) => {
  const text = (description: string) => Type.Optional(Type.String({ maxLength: 256, description }));
  app.get(
    '/v1/audit',
    {
      config: { role: 'admin' },
      schema: {
        summary: 'The audit log, newest first',
        querystring: Type.Object({
          operator: text('Only what this operator did'),
          action: text('Only this, such as device.revoke'),
          object: text('Only what was done to this'),
          limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
          cursor: Type.Optional(Type.Integer({ minimum: 0, description: '`cursor` of the page before' })),
        }),
        response: {
          200: Type.Object({
            entries: Type.Array(AuditEntry),
            cursor: Type.Union([Type.Integer(), Type.Null()], {
              description: 'Asks for the next page, which may be empty when a filter fits little; null on the last one',
            }),
          }),
          ...problems(400),
        },
      },
    },
    ({ query: { limit = 100, cursor, ...filter } }) => audit.read(filter, limit, cursor),
  );
};
