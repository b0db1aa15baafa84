import type { BlockList } from 'node:net';
import { AuditLog, type Bus, Records } from '@culvert/bus';
import { CulvertError, type Limits } from '@culvert/contracts';
import { edgeNetworks, type Logger } from '@culvert/service-kit';
import swagger from '@fastify/swagger';
import swaggerUi from '@fastify/swagger-ui';
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import { type FastifyBaseLogger, type FastifyInstance, fastify, LogController } from 'fastify';
import type { Redis } from 'ioredis';
import type { Registry } from 'prom-client';
import { auditRoutes } from './access/audit.ts';
import { guardRoutes } from './access/guard.ts';
import { loginRoutes } from './access/login.ts';
import { operatorRoutes } from './access/operators.ts';
import { passwordRoutes } from './access/password-routes.ts';
import { Rights } from './access/rights.ts';
import { RunningUses } from './access/running.ts';
import { accessRoutes } from './access-routes.ts';
import { measureApi } from './api-metrics.ts';
import { type Ask, askManager } from './ask.ts';
import { serveDashboard } from './dashboard.ts';
import { deviceSettings } from './device-settings.ts';
import { DeviceStates } from './device-state.ts';
import { type PublicSide, viewOf } from './device-view.ts';
import { deviceRoutes } from './devices.ts';
import { domainRoutes } from './domain-routes.ts';
import { enrolmentKeyRoutes } from './enrolment-keys.ts';
import { historyRoutes } from './feed/history-routes.ts';
import { liveFeed } from './feed/live-feed.ts';
import { feedRoutes } from './fleet/feed-routes.ts';
import { Fleet } from './fleet/fleet.ts';
import { fleetRoutes } from './fleet/fleet-routes.ts';
import { FleetWatch } from './fleet/fleet-watch.ts';
import { Traffic } from './fleet/traffic.ts';
import { hostRoutes } from './host-routes.ts';
import { answerOnce } from './idempotency.ts';
import { instanceList } from './instance-list.ts';

import { instanceRoutes } from './instance-routes.ts';
import { answerUnknownPaths } from './known-paths.ts';
import { serveOperatorChecks } from './operator-checks.ts';
import { portRoutes } from './port-routes.ts';
import { onError } from './problem.ts';
import { ticketRoutes } from './tickets.ts';
import { traceRoutes } from './trace/routes.ts';
import { usageRoutes } from './usage-routes.ts';
import { visitorRoutes } from './visitor-routes.ts';
import type { Visitors } from './visitors.ts';
import { waitRoutes } from './wait-routes.ts';
import { DeadLetters } from './webhooks/dead-letters.ts';
import { WebhookRegistry } from './webhooks/registry.ts';
import { webhookRoutes } from './webhooks/routes.ts';

export interface AdminOptions {
  bus: Pick<Bus, 'request' | 'requestOf' | 'serve' | 'nc'>;
  /** Where instances say how they are; without it they are not listed. */
  redis?: Redis;
  log: Logger;
  /** Name of this instance in audit entries. */
  id: string;
  /** What the operator `root` presents as a Bearer token. */
  token: string;
  side: PublicSide;
  /** Where this machine reaches the edge; default: where visitors do. */
  edge?: URL;
  limits: Limits;
  /** Who visits; without it these views are not served. */
  visitors?: Visitors;
  /** Webhooks may lead to private addresses and by plain http; default false. */
  webhooksPrivate?: boolean;
  /** Whether devices' pages are open where nothing else is said of a device; default public. */
  access?: 'public' | 'private';
  /** Under which the system gives names out; default culvert.localhost. */
  domain?: string;
  /** Whose X-Forwarded-For the audit log believes; default: private networks. */
  edges?: BlockList;
  /** Folder of the built dashboard; without it none is served. */
  dashboard?: string;
  /** Told of every route and the role that it wants. */
  onRoute?: (route: { method: string; url: string; role: string | undefined }) => void;
  /** Where the API is measured; nowhere without it. */
  registry?: Registry;
  /** Served by TLS with this; plainly without. */
  tls?: { cert: Buffer; key: Buffer };
}

const BODY_BYTES = 16 * 1024;
/** What the events said last of a device is told when it comes in time; nothing waits for it longer. */
const LAST_WORDS_MS = 1_000;
/** Node looks at deadlines every 30 s unless told otherwise: strangers would hold their places as long. */
const CLOCK = { connectionsCheckingInterval: 1_000 };

/** The REST API: everything below /v1 wants an operator with the role that the route names, the documents about it do not. */
export async function buildServer({
  bus,
  log,
  id,
  token,
  side,
  limits,
  onRoute,
  tls,
  registry,
  webhooksPrivate,
  visitors,
  redis,
  dashboard,
  access = 'public',
  domain = 'culvert.localhost',
  edge = new URL(`${side.scheme}://${domain}:${side.port}`),
  edges = edgeNetworks().fallback,
}: AdminOptions): Promise<FastifyInstance> {
  const app = fastify({
    ...(tls === undefined
      ? { http: CLOCK }
      : { https: { ...CLOCK, ...tls, minVersion: 'TLSv1.2', handshakeTimeout: limits.HANDSHAKE_MS } }),
    loggerInstance: log as FastifyBaseLogger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    ajv: { customOptions: { removeAdditional: false } }, // what a body may not have is refused, not dropped
    requestTimeout: limits.HANDSHAKE_MS,
    keepAliveTimeout: 5_000,
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
  }).withTypeProvider<TypeBoxTypeProvider>();
  app.server.maxConnections = 1_024;
  app.decorate('secureCookies', side.scheme === 'https');

  if (registry !== undefined) measureApi(app as unknown as FastifyInstance, registry);
  app.setErrorHandler(onError);
  answerUnknownPaths(app as unknown as FastifyInstance);
  const records = new Records(bus);
  const rights = new Rights(records, token, limits, edges);
  const audit = new AuditLog(bus.nc, `culvert/admin/${id}`);
  if (onRoute !== undefined) {
    app.addHook('onRoute', ({ method, url, config }) => {
      for (const one of [method].flat()) onRoute({ method: one, url, role: config?.role });
    });
  }
  answerOnce(app as unknown as FastifyInstance, { records, limits, log });
  guardRoutes(app as unknown as FastifyInstance, rights, audit, edges);
  await serveOperatorChecks(bus, rights);
  const running = new RunningUses(rights, bus, limits.RECHECK_MS);
  app.addHook('preClose', async () => running.close());
  app.addContentTypeParser('*', (_request, _payload, done) => {
    done(new CulvertError('bad_request', 'expected Content-Type: application/json'));
  });

  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Culvert admin API', version: '1', description: 'Devices, their tokens and their leases.' },
      components: { securitySchemes: { operatorToken: { type: 'http', scheme: 'bearer' } } },
      security: [{ operatorToken: [] }],
    },
    refResolver: { buildLocalReference: ({ $id }, _base, _fragment, at) => (typeof $id === 'string' ? $id : `def-${at}`) },
  });
  await app.register(swaggerUi, { routePrefix: '/docs' });
  app.get('/openapi.json', { schema: { hide: true } }, () => app.swagger());
  await app.register(loginRoutes, { records, rights, loginMs: limits.LOGIN_MS });
  await app.register(passwordRoutes, { records, rights });
  await app.register(operatorRoutes, { records, limits });
  await app.register(auditRoutes, { audit });
  const privateAllowed = webhooksPrivate ?? false;
  const dead = new DeadLetters(bus.nc, limits);
  const webhooks = new WebhookRegistry({ records, nc: bus.nc, dead, limits, privateAllowed });
  await app.register(webhookRoutes, { webhooks, dead, limits, privateAllowed });
  await app.register(deviceSettings, { bus, records });
  await app.register(enrolmentKeyRoutes, { records });
  await app.register(hostRoutes, { bus, records });
  await app.register(usageRoutes, { bus, records });
  if (visitors !== undefined) await app.register(visitorRoutes, { visitors });
  await app.register(liveFeed, { bus, running, visitors });
  await app.register(historyRoutes, { bus });
  const ask = askManager(bus);
  const fleet = fleetOf(bus, ask, side);
  if (dashboard !== undefined) {
    // The first answer about all devices takes its time: it is begun while the browser reads the page.
    await app.register(serveDashboard, { folder: dashboard, onPage: () => void fleet.all().catch(() => {}) });
  }
  app.addHook('onSend', async ({ audited, params, routeOptions: { config } }) => {
    // Others hear of it from the audit log; who has changed it finds it changed at once.
    if (typeof config.audit === 'string') fleet.touch(audited.object ?? (params as { name?: string }).name ?? '');
  });
  await app.register(fleetRoutes, { ask, side, fleet });
  await app.register(deviceRoutes, { ask, records, side, log, revokeMs: limits.COMMAND_MS * 2 });
  await app.register(accessRoutes, { records, limits, bus, side, fallback: access });
  await app.register(domainRoutes, { records, bus, limits, domain });
  await app.register(ticketRoutes, { bus, records, log });
  const states = new DeviceStates(bus.nc, LAST_WORDS_MS);
  await app.register(traceRoutes, { bus, limits, side, edge, lastWords: (device) => states.of(device) });
  await app.register(instanceRoutes, { bus });
  const watch = new FleetWatch(fleet, log);
  const traffic = new Traffic();
  if (visitors !== undefined) traffic.start(visitors);
  app.addHook('preClose', async () => {
    watch.stop();
    traffic.stop();
  });
  await app.register(feedRoutes, { watch, traffic, running });
  if (redis !== undefined) await app.register(instanceList, { redis, bus, watch });
  await app.register(portRoutes, { bus, watch });
  await app.register(waitRoutes, { bus, running, side, limits });
  return app as unknown as FastifyInstance;
}

function fleetOf(bus: AdminOptions['bus'], ask: Ask, side: PublicSide): Fleet {
  return new Fleet({
    bus,
    list: async (cursor) => {
      const page = await ask('device.list', { limit: 1_000, ...(cursor === undefined ? {} : { cursor }) });
      return { devices: page.devices.map(({ lease, ...record }) => viewOf(record, lease, side)), cursor: page.cursor };
    },
    show: async (name) => {
      try {
        const { device, lease } = await ask('device.show', { device: name });
        return viewOf(device, lease, side);
      } catch (error) {
        if (error instanceof CulvertError && error.code === 'not_found') return null;
        throw error;
      }
    },
  });
}
