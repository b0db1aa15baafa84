import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { failed, ok, type Step, skipped } from './steps.ts';

/** What the edge may answer to /.culvert/route; it says no more. */
const MOST_BYTES = 4_096;
const PATH = '/.culvert/route';

interface Answer {
  ms: number;
  route: string;
  detail: string;
  /** What is wrong with its certificate as this machine sees it; empty when nothing, or without TLS. */
  certificate: string;
}

/**
 * Asks the edge for its route to `host`, as a visitor would come to it. Answers the steps `edge` and `route`.
 *
 * @param leaseState State of the lease that the route is compared with; null without one.
 */
export async function traceEdge(edge: URL, host: string, ms: number): Promise<(leaseState: string | null) => [Step, Step]> {
  const from = performance.now();
  const answer = await ask(edge, host, ms).catch((error: Error) => error);
  const took = performance.now() - from;
  if (answer instanceof Error) {
    const step = failed('edge', took, 'edge_silent', `the edge at ${edge.origin} does not answer: ${answer.message}`);
    return () => [step, skipped('route', 'the edge does not answer')];
  }
  const { certificate } = answer;
  const here =
    certificate === ''
      ? ok('edge', answer.ms, `${edge.origin} answers`)
      : ok('edge', answer.ms, `${edge.origin} answers; this machine does not trust its certificate: ${certificate}`);
  return (leaseState) => [here, routeStep(answer, host, leaseState)];
}

function routeStep({ ms, route, detail }: Answer, host: string, leaseState: string | null): Step {
  if (route === 'away') {
    return failed('route', ms, 'route_unknown', `the edge cannot read its routes: ${detail || 'Redis does not answer'}`);
  }
  if (route === 'none') {
    const why =
      leaseState === null ? 'the device has no lease' : 'the lease has one, so the edge reads another store, or an old one';
    return failed('route', ms, 'route_missing', `the edge has no route for ${host}: ${why}`);
  }
  if (route === 'private') return ok('route', ms, `${host} is private: visitors need a link (culvert share)`);
  if (leaseState !== null && route !== leaseState) {
    return failed(
      'route',
      ms,
      'route_stale',
      `the edge takes the device for ${route}, the lease is ${leaseState}; it reads anew every 2 s`,
    );
  }
  return ok('route', ms, `${host} is ${route}`);
}

function ask(edge: URL, host: string, ms: number): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const from = performance.now();
  const options = {
    host: edge.hostname.replace(/^\[|\]$/g, ''),
    port: edge.port || (edge.protocol === 'https:' ? 443 : 80),
    path: PATH,
    headers: { host: `${host}${edge.port === '' ? '' : `:${edge.port}`}`, accept: 'application/json' },
    agent: false as const,
    signal: AbortSignal.timeout(ms),
  };
  // Whether visitors trust the certificate is told, not enforced: nothing secret is asked for.
  const request =
    edge.protocol === 'https:' ? httpsRequest({ ...options, servername: host, rejectUnauthorized: false }) : httpRequest(options);
  request.on('response', (response) => {
    const { authorizationError } = response.socket as Partial<TLSSocket>;
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.length > MOST_BYTES) response.destroy(new Error('its answer is no answer of an edge'));
    });
    response.on('error', reject);
    response.on('end', () => {
      try {
        if (response.statusCode !== 200) throw new Error(`it answers ${response.statusCode}`);
        const { route, detail } = JSON.parse(text) as { route?: unknown; detail?: unknown };
        if (typeof route !== 'string') throw new Error('its answer is no answer of an edge');
        const certificate = authorizationError === undefined || authorizationError === null ? '' : String(authorizationError);
        resolve({ ms: performance.now() - from, route, detail: typeof detail === 'string' ? detail : '', certificate });
      } catch (error) {
        reject(error instanceof SyntaxError ? new Error('its answer is no answer of an edge') : error);
      }
    });
  });
  request.on('error', (error) =>
    reject(error.name === 'AbortError' || error.name === 'TimeoutError' ? new Error(`no answer within ${ms} ms`) : error),
  );
  request.end();
  return promise;
}
