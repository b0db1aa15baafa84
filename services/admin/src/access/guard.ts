import type { BlockList } from 'node:net';
import type { AuditLog } from '@culvert/bus';
import type { Role } from '@culvert/contracts';
import { remoteOf } from '@culvert/service-kit';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Operator, Rights } from './rights.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What an operator needs for this route; `open`: nobody is asked who they are. Every route below /v1 says one. */
    role?: Role | 'open';
    /**
     * `<object>.<verb>`: every use of the route is in the audit log under it. Every route that is no read says one, or false:
     * it changes nothing.
     */
    audit?: string | false;
  }
  interface FastifyRequest {
    /** Who asks; null on open routes. */
    operator: Operator | null;
    /** What the audit entry of this request says beside who and where; handlers add to it. Object: `:name` or `:id` of the path. */
    audited: { object?: string; detail: Record<string, string | number | boolean | null>; outcome?: string; done: boolean };
  }
}

const READS = new Set(['GET', 'HEAD', 'OPTIONS']);

/**
 * Puts every route behind its role and every write into the audit log, before the answer goes out. A route that does not
 * say what it needs stops the start: what is forgotten is closed, not open. `edges`: who says for whom it asks.
 */
export function guardRoutes(app: FastifyInstance, rights: Rights, audit: Pick<AuditLog, 'write'>, edges: BlockList): void {
  app.decorateRequest('operator', null);
  app.decorateRequest('audited');
  app.addHook('onRoute', ({ schema }) => {
    for (const part of [schema?.body, schema?.querystring]) closeObject(part);
  });
  app.addHook('onRoute', ({ method, url, config }) => {
    const methods = [method].flat();
    const problem = faultOfRoute(url, methods, config?.role, config?.audit);
    if (problem !== undefined) throw new Error(`route ${methods.join(',')} ${url}: ${problem}`);
  });
  // By the route that was found, not by the text of the URL, which may say the same in other ways.
  app.addHook('onRequest', async (request) => {
    request.audited = { detail: {}, done: false };
    const { role } = request.routeOptions.config;
    if (role !== undefined && role !== 'open') request.operator = await rights.check(request, role);
  });
  app.addHook('onSend', async (request, reply) => {
    const { audit: action, role } = request.routeOptions.config;
    if (role !== undefined) reply.header('cache-control', 'no-store');
    if (typeof action !== 'string' || request.operator === null || request.audited.done) return;
    request.audited.done = true; // once: should this very entry fail, the answer to that is not audited
    await audit.write(entryOf(request, reply, action, request.operator, edges));
  });
}

function entryOf(request: FastifyRequest, reply: FastifyReply, action: string, operator: Operator, edges: BlockList) {
  const { object, detail, outcome } = request.audited;
  const params = request.params as { name?: string; id?: string };
  return {
    operator: operator.name,
    role: operator.role,
    action,
    object: (object ?? params.name ?? params.id ?? '').slice(0, 256),
    from: remoteOf(request.raw, edges),
    outcome: outcome ?? (reply.statusCode < 400 ? 'ok' : 'failed'),
    detail,
  };
}

/** What a request may not have is refused, not overlooked: a mistyped filter would let everything through. */
function closeObject(schema: unknown): void {
  const object = schema as { type?: string; additionalProperties?: unknown } | undefined;
  if (object?.type === 'object') object.additionalProperties ??= false;
}

function faultOfRoute(
  url: string,
  methods: string[],
  role: string | undefined,
  audit: string | false | undefined,
): string | undefined {
  if (role === undefined)
    return url.startsWith('/v1') ? 'config.role is missing; expected viewer, operator, admin or open' : undefined;
  if (role !== 'open' && audit === undefined && methods.some((method) => !READS.has(method))) {
    return 'config.audit is missing; expected <object>.<verb>, or false when it changes nothing';
  }
  if (typeof audit === 'string' && !/^[a-z_]+\.[a-z_]+$/.test(audit)) return `config.audit is ${audit}; expected <object>.<verb>`;
  return undefined;
}
