import { createServer, type IncomingHttpHeaders, request, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';
import { tcpVisitor, until } from './support.ts';

interface Span {
  service: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  about: Record<string, string>;
}
interface Attribute {
  key: string;
  value: { stringValue?: string; intValue?: string };
}
interface Export {
  resourceSpans: {
    resource: { attributes: Attribute[] };
    scopeSpans: { spans: (Omit<Span, 'service' | 'about'> & { attributes: Attribute[] })[] }[];
  }[];
}

const aboutOf = (attributes: Attribute[]): Record<string, string> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue ?? '']));

/** A collector, as far as OTLP/HTTP in JSON goes. */
class Collector {
  readonly spans: Span[] = [];
  readonly server: Server = createServer((incoming, answer) => {
    let text = '';
    incoming.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    incoming.on('end', () => {
      const good = incoming.url === '/v1/traces' && incoming.headers['content-type'] === 'application/json';
      if (good) this.#take(JSON.parse(text) as Export);
      answer.writeHead(good ? 200 : 400, { 'content-type': 'application/json' }).end('{}');
    });
  });

  #take({ resourceSpans }: Export): void {
    for (const { resource, scopeSpans } of resourceSpans) {
      const service = aboutOf(resource.attributes)['service.name'] ?? '';
      for (const { attributes, ...span } of scopeSpans.flatMap(({ spans }) => spans)) {
        this.spans.push({ ...span, service, about: aboutOf(attributes) });
      }
    }
  }

  of(traceId: string, name: string): Promise<Span> {
    return until(`the span ${name}`, async () => this.spans.find((span) => span.traceId === traceId && span.name === name));
  }
}

let collector: Collector;
let web: Server;
let tcp: Target;
let stack: Stack;
let agent: RunningAgent;

const listening = (server: Server): Promise<number> =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port)));

/** One request at the edge; what it was answered, and the headers that the device's program saw. */
function visit(headers: Record<string, string> = {}): Promise<{ visitor: string; seen: IncomingHttpHeaders }> {
  const host = new URL(String(agent.endpoint(80).url)).host;
  return new Promise((resolve, reject) => {
    const asking = request(
      new URL('/page?secret=1', stack.info.edge),
      { headers: { ...headers, host }, agent: false },
      (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        answer.on('end', () =>
          resolve({ visitor: String(answer.headers['culvert-visitor']), seen: JSON.parse(text) as IncomingHttpHeaders }),
        );
      },
    );
    asking.on('error', reject).setTimeout(20_000, () => asking.destroy(new Error('no answer')));
    asking.end();
  });
}

beforeAll(async () => {
  collector = new Collector();
  web = createServer((incoming, answer) => void answer.end(JSON.stringify(incoming.headers)));
  tcp = await startTcpTarget(echo);
  const [collecting, serving] = [await listening(collector.server), await listening(web)];
  stack = await startStack({ tcpPorts: 20, env: { CULVERT_OTLP_URL: `http://127.0.0.1:${collecting}` } });
  const token = await stack.addDevice('traced');
  const mappings = [`80=127.0.0.1:${serving}`, `tcp:7=127.0.0.1:${tcp.port}`, 'tcp:9=127.0.0.1:1'];
  agent = await stack.runAgent({ name: 'traced', token, mappings });
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await tcp?.close();
  for (const server of [collector?.server, web]) {
    server?.closeAllConnections();
    server?.close();
  }
});

it('a visitor is one trace from the edge to the device, under the id that the visitor was told', async () => {
  const { visitor, seen } = await visit();
  const edge = await collector.of(visitor, 'edge GET');
  const listener = await collector.of(visitor, 'listener visitor');
  const dial = await collector.of(visitor, 'listener dial');
  const splice = await collector.of(visitor, 'listener splice');
  const ingress = await collector.of(visitor, 'ingress dial');
  expect(edge.parentSpanId).toBeUndefined();
  expect(edge.about).toMatchObject({ 'culvert.device': 'traced', 'culvert.outcome': 'ok', 'http.response.status_code': '200' });
  expect(edge.about['url.path']).toBe('/page');
  expect(listener).toMatchObject({ parentSpanId: edge.spanId, service: 'tcp-listener', about: { 'culvert.device': 'traced' } });
  expect(dial.parentSpanId).toBe(listener.spanId);
  expect(splice.parentSpanId).toBe(listener.spanId);
  expect(ingress).toMatchObject({ parentSpanId: dial.spanId, service: 'ws-ingress', about: { 'culvert.outcome': 'ok' } });
  const agentPart = await collector.of(visitor, 'agent');
  const [local, opened] = [await collector.of(visitor, 'agent local target'), await collector.of(visitor, 'agent transfer')];
  expect(agentPart).toMatchObject({ parentSpanId: ingress.spanId, service: 'agent', about: { 'culvert.device': 'traced' } });
  expect([local.parentSpanId, opened.parentSpanId]).toEqual([agentPart.spanId, agentPart.spanId]);
  expect(BigInt(opened.startTimeUnixNano)).toBe(BigInt(local.endTimeUnixNano));
  expect(seen.traceparent).toBe(`00-${visitor}-${edge.spanId}-01`);
  for (const { startTimeUnixNano: start, endTimeUnixNano: end } of [
    edge,
    listener,
    dial,
    splice,
    ingress,
    agentPart,
    local,
    opened,
  ]) {
    expect(BigInt(end)).toBeGreaterThanOrEqual(BigInt(start));
    expect(start).toMatch(/^1[0-9]{18}$/);
  }
});

it('a trace of the visitor goes on, and one that is not sampled is passed on and not recorded', async () => {
  const [trace, parent] = ['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'];
  const quiet = await visit({ traceparent: `00-${'c'.repeat(32)}-${parent}-00` });
  expect(quiet.seen.traceparent).toMatch(/^00-c{32}-[0-9a-f]{16}-00$/);
  const { visitor } = await visit({ traceparent: `00-${trace}-${parent}-01` });
  const edge = await collector.of(trace, 'edge GET');
  expect(edge).toMatchObject({ parentSpanId: parent, about: { 'culvert.visitor': visitor } });
  expect(await collector.of(trace, 'listener visitor')).toMatchObject({ parentSpanId: edge.spanId });
  expect(collector.spans.filter(({ traceId }) => traceId === 'c'.repeat(32))).toEqual([]);
});

it('a header that is no trace context begins a trace of its own', async () => {
  const { visitor, seen } = await visit({ traceparent: '00-nonsense' });
  expect(seen.traceparent).toContain(visitor);
  expect((await collector.of(visitor, 'listener visitor')).parentSpanId).toBeDefined();
});

it('a visitor of a tcp port has a trace that begins at the listener', async () => {
  expect((await tcpVisitor(agent.endpoint(7).public_port as number, 'hello')).data.toString()).toBe('hello');
  const span = await until('a root span of the listener', async () =>
    collector.spans.find(({ name, parentSpanId }) => name === 'listener visitor' && parentSpanId === undefined),
  );
  expect(span.about).toMatchObject({ 'culvert.device': 'traced', 'culvert.outcome': 'ok' });
});

it('a device says how its part went by a warm transfer, too, and that its local target refused', async () => {
  const part = await until('a part of the device by a warm transfer', async () => {
    await visit();
    const warm = new Set(collector.spans.filter(({ name }) => name === 'listener warm').map(({ spanId }) => spanId));
    return collector.spans.find(({ name, parentSpanId = '' }) => name === 'agent' && warm.has(parentSpanId));
  });
  expect(part).toMatchObject({ service: 'agent', about: { 'culvert.outcome': 'ok' } });
  expect((await collector.of(part.traceId, 'agent local target')).parentSpanId).toBe(part.spanId);
  await tcpVisitor(agent.endpoint(9).public_port as number, 'hello').catch(() => {});
  await until('the refusal', async () =>
    collector.spans.find(({ name, about }) => name === 'agent' && about['culvert.outcome'] === 'local_refused'),
  );
});
