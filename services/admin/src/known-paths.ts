import type { FastifyInstance } from 'fastify';
import { sendProblem } from './problem.ts';

/** Tells a path that there is not from a method that a path does not have. Call before routes are registered. */
export function answerUnknownPaths(app: FastifyInstance): void {
  const known = new Map<string, { pattern: RegExp; methods: Set<string> }>();
  app.addHook('onRoute', ({ method, url }) => {
    const path = url.replace(/\/$/, '');
    const pattern = new RegExp(`^${path.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll(/:\w+/g, '[^/]+')}/?$`);
    const entry = known.get(path) ?? { pattern, methods: new Set<string>() };
    for (const one of [method].flat()) entry.methods.add(one);
    known.set(path, entry);
  });
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? '';
    const methods = [...known.values()].filter(({ pattern }) => pattern.test(path)).flatMap((entry) => [...entry.methods]);
    if (methods.length === 0) return sendProblem(reply, 'not_found', `there is no ${request.method} ${request.url}`);
    const allowed = methods.sort().join(', ');
    reply.header('allow', allowed);
    return sendProblem(reply, 'bad_request', `there is no ${request.method} of ${path}; expected ${allowed}`, { status: 405 });
  });
}
