import type { FastifyInstance } from 'fastify';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Rate, errors and durations of the API by route pattern and class of status; call before routes are registered. */
export function measureApi(app: FastifyInstance, registry: Registry): void {
  const registers = [registry];
  const labelNames = ['method', 'route', 'status'] as const;
  const requests = new Counter({ name: 'culvert_api_requests_total', help: 'Requests answered', labelNames, registers });
  const seconds = new Histogram({
    name: 'culvert_api_request_seconds',
    help: 'From a request to its whole answer; event streams are not in it',
    labelNames: ['route'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60],
    registers,
  });
  const open = new Gauge({ name: 'culvert_api_requests_open', help: 'Requests under way, event streams included', registers });
  app.server.on('request', (_request, response) => {
    open.inc();
    response.once('close', () => open.dec());
  });
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none';
    requests.inc({ method: request.method, route, status: `${Math.floor(reply.statusCode / 100)}xx` });
    if (String(reply.getHeader('content-type') ?? '').startsWith('text/event-stream')) return;
    seconds.observe({ route }, reply.elapsedTime / 1000);
  });
}
