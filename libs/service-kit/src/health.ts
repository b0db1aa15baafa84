import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { collectDefaultMetrics, Registry } from 'prom-client';

/** What makes an instance ready: each check answers undefined when well, or what is wrong. */
export type ReadyCheck = () => string | undefined;

export interface Health {
  readonly registry: Registry;
  readonly url: string;
  addCheck(name: string, check: ReadyCheck): void;
  /** What is wrong now, by the name of its check; empty when ready. */
  faults(): Record<string, string>;
  close(): Promise<void>;
}

/**
 * How often the lateness of the event loop is measured; `nodejs_eventloop_lag_*` includes this time. Each sample wakes the process: by
 * the default of 10 ms that was half of what an idle stack took, and it cost whoever was busy its caches.
 */
const LOOP_SAMPLE_MS = 100;

/** Serves `/healthz` (the process runs), `/readyz` (it can do its work) and `/metrics` on a private address. */
export async function serveHealth(host: string, port: number, instance: string): Promise<Health> {
  const registry = new Registry();
  registry.setDefaultLabels({ instance });
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: LOOP_SAMPLE_MS });
  const checks = new Map<string, ReadyCheck>();

  const faultsNow = (): Record<string, string> => {
    const faults: Record<string, string> = {};
    for (const [name, check] of checks) {
      const fault = check();
      if (fault !== undefined) faults[name] = fault;
    }
    return faults;
  };

  const server: Server = createServer(
    // Node looks at deadlines every 30 s unless told otherwise: strangers would hold their places as long.
    { requestTimeout: 5_000, headersTimeout: 5_000, keepAliveTimeout: 5_000, connectionsCheckingInterval: 1_000 },
    (request, response) => {
      const send = (status: number, type: string, body: string): void => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' });
        response.end(body);
      };
      if (request.url === '/healthz') return send(200, 'application/json', JSON.stringify({ status: 'ok', instance }));
      if (request.url === '/readyz') {
        const faults = faultsNow();
        const ready = Object.keys(faults).length === 0;
        return send(
          ready ? 200 : 503,
          'application/json',
          JSON.stringify({ status: ready ? 'ready' : 'not ready', instance, faults }),
        );
      }
      if (request.url === '/metrics') {
        registry.metrics().then(
          (text) => send(200, registry.contentType, text),
          () => send(500, 'text/plain', 'metrics failed'),
        );
        return;
      }
      send(404, 'application/json', JSON.stringify({ code: 'not_found', message: 'expected /healthz, /readyz or /metrics' }));
    },
  );
  server.maxConnections = 64;
  await listen(server, host, port);
  const { port: bound } = server.address() as AddressInfo;
  return {
    registry,
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}/healthz`,
    addCheck: (name, check) => void checks.set(name, check),
    faults: faultsNow,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Listens, or throws an error that names the address. */
export async function listen(
  server: {
    listen(options: object, done: () => void): unknown;
    once(event: 'error', on: (e: Error) => void): unknown;
    off(event: 'error', on: (e: Error) => void): unknown;
  },
  host: string,
  port: number,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const failed = (cause: Error): void =>
      reject(new Error(`cannot listen on ${host} port ${port}: ${cause.message}`, { cause }));
    server.once('error', failed);
    server.listen({ host, port, backlog: 4096 }, () => {
      server.off('error', failed);
      resolve();
    });
  });
}
