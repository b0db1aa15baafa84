import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import { type Agent, type AgentOptions, createAgent } from '../src/index.ts';
import { TestServer, type TestServerOptions } from './server.ts';

/** Polls until the condition gives something; fails after 20 s: machines may be busy. */
export async function until<T>(what: string, condition: () => T | undefined | false | null): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const found = condition();
    if (found !== undefined && found !== false && found !== null) return found;
    if (Date.now() > deadline) throw new Error(`not within 20 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A protocol server that ends with the test. */
export async function serve(options: TestServerOptions = {}): Promise<TestServer> {
  const server = await TestServer.start(options);
  onTestFinished(() => server.stop());
  return server;
}

/** A local target that ends with the test; gives its port. */
export async function target(onSocket: (socket: Socket) => void, host = '127.0.0.1'): Promise<number> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    onSocket(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Echoes until the visitor ends, then ends. */
export function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** Backoff of a hundredth. */
export const FAST = { baseMs: 10, capMs: 600, stableMs: 600, nameInUseMs: 50, retryAfterCapMs: 200 };

/** What happened to an agent: one entry an event. */
export type Happened = { event: string } & Record<string, unknown>;

/** A running agent that is stopped with the test, and the log of its events. */
export function start(options: Partial<AgentOptions> & Pick<AgentOptions, 'servers'>): {
  agent: Agent;
  events: Happened[];
  run: Promise<void>;
} {
  const agent = createAgent({
    name: 'alice',
    token: 'device-token',
    proxy: null,
    mappings: [{ port: 80, scheme: 'http', target: { host: '127.0.0.1', port: 1 } }],
    backoff: FAST,
    ...options,
  });
  const events: Happened[] = [];
  for (const event of ['connecting', 'endpoint', 'ready', 'disconnected', 'refused', 'transfer', 'stopped'] as const) {
    agent.on(event, (fields?: object) => events.push({ event, ...fields }));
  }
  const run = agent.run();
  onTestFinished(async () => {
    agent.abort();
    await run;
  });
  return { agent, events, run };
}

/** The nth event of a kind, waited for. */
export function happened(events: Happened[], event: string, index = 0): Promise<Happened> {
  return until(`event ${event} number ${index}`, () => events.filter((each) => each.event === event)[index]);
}
