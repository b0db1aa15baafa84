import { randomBytes } from 'node:crypto';
import type { KeptRecord } from '@culvert/bus';
import { CulvertError, type Limits } from '@culvert/contracts';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import Type from 'typebox';
import { problems } from '../problem.ts';
import type { DeadLetters } from './dead-letters.ts';
import { post } from './post.ts';
import type { WebhookRegistry } from './registry.ts';

export interface WebhookRoutesOptions {
  webhooks: WebhookRegistry;
  dead: DeadLetters;
  limits: Pick<Limits, 'WEBHOOK_ANSWER_MS'>;
  privateAllowed: boolean;
}

const Time = Type.Integer({ description: 'Milliseconds since 1970' });
const WebhookView = Type.Object(
  {
    id: Type.String(),
    url: Type.String(),
    types: Type.Array(Type.String(), { description: 'Event types or families such as device.*; empty: all but conn.*' }),
    devices: Type.Array(Type.String(), { description: 'Names of devices; empty: all' }),
    state: Type.Enum(['on', 'disabled']),
    disabled_at: Type.Union([Time, Type.Null()]),
    disabled_reason: Type.Union([Type.String(), Type.Null()]),
    replaying: Type.Boolean(),
    created_at: Time,
    created_by: Type.String(),
  },
  { $id: 'Webhook' },
);
const Params = Type.Object({ id: Type.String({ maxLength: 64 }) });

const viewOf = ({ id, value: { url, types, devices, state, replay, created_at, created_by } }: KeptRecord<'webhook'>) => ({
  ...{ id, url, types, devices, created_at, created_by },
  state: state.kind,
  disabled_at: state.kind === 'disabled' ? state.at : null,
  disabled_reason: state.kind === 'disabled' ? state.reason : null,
  replaying: replay !== undefined,
});

/** `/v1/webhooks`: where events are sent to, signed as Standard Webhooks has it. */
export const webhookRoutes: FastifyPluginAsyncTypebox<WebhookRoutesOptions> = async (app, options) => {
  const { webhooks, dead, limits, privateAllowed } = options;

  app.post(
    '/v1/webhooks',
    {
      config: { role: 'admin', audit: 'webhook.add' },
      schema: {
        summary: 'Send events from now on to a URL; its signing secret is shown this once',
        body: Type.Object({
          url: Type.String({ maxLength: 2_000 }),
          types: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 32 })),
          devices: Type.Optional(Type.Array(Type.String({ maxLength: 64 }), { maxItems: 100 })),
        }),
        response: { 201: Type.Object({ ...WebhookView.properties, secret: Type.String() }), ...problems(400, 409) },
      },
    },
    async (request, reply) => {
      const { url, types = [], devices = [] } = request.body;
      const made = await webhooks.add({ url, types, devices, created_by: request.operator?.name ?? '' });
      request.audited.object = made.id;
      request.audited.detail.host = new URL(url).host;
      return reply.code(201).send({ ...viewOf(made), secret: made.value.secret });
    },
  );

  app.get(
    '/v1/webhooks',
    {
      config: { role: 'operator' },
      schema: { summary: 'List webhooks', response: { 200: Type.Object({ webhooks: Type.Array(WebhookView) }), ...problems() } },
    },
    async () => ({ webhooks: (await webhooks.list()).map(viewOf) }),
  );

  app.get(
    '/v1/webhooks/:id',
    {
      config: { role: 'operator' },
      schema: { summary: 'Show a webhook', params: Params, response: { 200: WebhookView, ...problems(404) } },
    },
    async (request) => viewOf(await webhooks.find(request.params.id)),
  );

  app.delete(
    '/v1/webhooks/:id',
    {
      config: { role: 'admin', audit: 'webhook.delete' },
      schema: {
        summary: 'Remove a webhook; what was not delivered yet is gone with it',
        params: Params,
        response: { 200: Type.Object({ id: Type.String(), removed: Type.Literal(true) }), ...problems(404) },
      },
    },
    async (request) => {
      await webhooks.remove(request.params.id);
      return { id: request.params.id, removed: true as const };
    },
  );

  app.post(
    '/v1/webhooks/:id/enable',
    {
      config: { role: 'admin', audit: 'webhook.enable' },
      schema: {
        summary: 'Deliver again after it was disabled, what came meanwhile included',
        params: Params,
        response: { 200: WebhookView, ...problems(404, 409) },
      },
    },
    async (request) => viewOf(await webhooks.enable(request.params.id)),
  );

  app.post(
    '/v1/webhooks/:id/ping',
    {
      config: { role: 'operator', audit: 'webhook.ping' },
      schema: {
        summary: 'Send one message of the type webhook.ping at once, and say how that went',
        params: Params,
        response: {
          200: Type.Object({
            delivered: Type.Boolean(),
            status: Type.Union([Type.Integer(), Type.Null()]),
            reason: Type.Union([Type.String(), Type.Null()]),
            ms: Type.Integer(),
          }),
          ...problems(404),
        },
      },
    },
    async (request) => {
      const { id, value } = await webhooks.find(request.params.id);
      const ping = {
        ...{ specversion: '1.0', id: `ping-${randomBytes(8).toString('hex')}`, source: '/culvert/admin', type: 'webhook.ping' },
        ...{ subject: id, time: new Date().toISOString(), datacontenttype: 'application/json', data: {} },
      };
      const letter = { url: value.url, secret: value.secret, id: ping.id, body: JSON.stringify(ping) };
      const signal = AbortSignal.timeout(limits.WEBHOOK_ANSWER_MS + 1_000);
      const result = await post(letter, { deadlineMs: limits.WEBHOOK_ANSWER_MS, privateAllowed, signal });
      return { delivered: result.ok, status: result.status, reason: result.ok ? null : result.reason, ms: result.ms };
    },
  );

  app.get(
    '/v1/webhooks/:id/dead',
    {
      config: { role: 'operator' },
      schema: {
        summary: 'Events that were given up, newest first',
        params: Params,
        querystring: Type.Object({ limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })) }),
        response: {
          200: Type.Object({
            dead: Type.Array(Type.Object({ at: Time, reason: Type.String(), event: Type.Record(Type.String(), Type.Unknown()) })),
          }),
          ...problems(404),
        },
      },
    },
    async (request) => {
      const { id } = await webhooks.find(request.params.id);
      const letters = await dead.list(id, request.query.limit ?? 100);
      return {
        dead: letters.map(({ at, reason, event }) => ({ at, reason, event: event as unknown as Record<string, unknown> })),
      };
    },
  );

  app.post(
    '/v1/webhooks/:id/replay',
    {
      config: { role: 'admin', audit: 'webhook.replay' },
      schema: {
        summary: 'Send dead letters again (the default), or every event since a time; webhook-id is that of the first time',
        params: Params,
        body: Type.Object({ since: Type.Optional(Type.String({ description: 'RFC 3339 time', maxLength: 64 })) }),
        response: { 202: Type.Object({ id: Type.String(), replaying: Type.Literal(true) }), ...problems(400, 404, 409) },
      },
    },
    async (request, reply) => {
      const { since } = request.body;
      const time = since === undefined ? 'dead' : Date.parse(since);
      if (Number.isNaN(time)) throw new CulvertError('bad_request', `since ${JSON.stringify(since)} is no RFC 3339 time`);
      await webhooks.replay(request.params.id, time);
      request.audited.detail.since = since ?? 'dead letters';
      return reply.code(202).send({ id: request.params.id, replaying: true as const });
    },
  );
};
