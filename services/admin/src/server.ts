import type { Bus } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import { bearerCheck } from './auth.ts';
import type { PublicSide } from './device-view.ts';
import { deviceRoutes } from './devices.ts';
import { liveFeed } from './live-feed.ts';
import { onError, sendProblem } from './problem.ts';

export interface AdminOptions {
  bus: Pick<Bus, 'request' | 'nc'>;
  log: Logger;
  /** What operators present as a Bearer token. */
  token: string;
  side: PublicSide;
  /** How long revoking may wait for the other instances, in milliseconds. */
  revokeMs: number;
}

const BODY_BYTES = 16 * 1024;
const REQUEST_MS = 10_000;

/** The REST API: everything below /v1 wants the admin token, the documents about it do not. */
export async function buildServer({ bus, log, token, side, revokeMs }: AdminOptions): Promise<FastifyInstance> {
  const app = fastify({
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = 1_024;

  app.setErrorHandler(onError);
  app.setNotFoundHandler((request, reply) => sendProblem(reply, 'not_found', `there is no ${request.method} ${request.url}`));
  const check = bearerCheck(token);
  app.addHook('onRequest', async (request) => {
    if (request.url.startsWith('/v1/')) await check(request);
  });
  app.addHook('onSend', async (request, reply) => {
    if (request.url.startsWith('/v1/')) reply.header('cache-control', 'no-store');
  });
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(new CulvertError('bad_request', 'expected Content-Type: application/json'));
  });

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Culvert admin API', version: '1', description: 'Devices, their tokens and their leases.' },
      components: { securitySchemes: { adminToken: { type: 'http', scheme: 'bearer' } } },
      security: [{ adminToken: [] }],
    },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(deviceRoutes, { bus, side, log, revokeMs });
  await app.register(liveFeed, { bus });
  return app as unknown as FastifyInstance;
}
