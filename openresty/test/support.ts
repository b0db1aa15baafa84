import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type RequestListener, request, type Server } from 'node:http';
import { type AddressInfo, connect, createServer as createNetServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Limits, Route } from '@culvert/contracts';
import { Redis } from 'ioredis';
import { type EdgeSettings, prepareEdge } from '../src/index.ts';

export const DOMAIN = 'culvert.test';
export const SECRET = 'a secret of the test and of nobody else';
const DEADLINE_MS = 8000;

/** Polls until `probe` gives something else than undefined or false. */
export async function until<T>(what: string, probe: () => Promise<T | undefined | false> | T | undefined | false): Promise<T> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const value = await Promise.resolve(probe()).catch(() => undefined);
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`not within ${DEADLINE_MS} ms: ${what}`);
    await sleep(15);
  }
}

export async function freePort(host = '127.0.0.1'): Promise<number> {
  const server = createNetServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

/** A Redis of one's own that can be killed and started again on the same port. */
export class TestRedis {
  readonly port: number;
  readonly client: Redis;
  readonly folder: string;
  private readonly options: string[];
  private child: ChildProcess | undefined;

  private constructor(port: number, folder: string, options: string[]) {
    this.port = port;
    this.folder = folder;
    this.options = options;
    this.client = new Redis({ port, host: '127.0.0.1', lazyConnect: true, retryStrategy: () => 20, maxRetriesPerRequest: null });
    this.client.on('error', () => {}); // while it is killed
  }

  static async start(options: string[] = []): Promise<TestRedis> {
    const redis = new TestRedis(await freePort(), mkdtempSync(join(tmpdir(), 'culvert-edge-redis-')), options);
    await redis.up();
    return redis;
  }

  /** Does nothing when it is up. */
  async up(): Promise<void> {
    if (this.child !== undefined) return;
    const args = ['--port', String(this.port), '--bind', '127.0.0.1', '--dir', this.folder, '--save', '', ...this.options];
    this.child = spawn('redis-server', args, { stdio: 'ignore' });
    await until('redis answers', async () => (await this.client.ping()) === 'PONG');
    await this.client.set('store:incarnation', 'x'); // without one the store counts as lost
  }

  async kill(): Promise<void> {
    if (this.child !== undefined) await end(this.child, 'SIGKILL');
    this.child = undefined;
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.child?.kill(signal);
  }

  /** Writes a route as lease-manager does: the hash and the announcement. */
  async route(label: string, fields: Partial<Route>): Promise<void> {
    const host = `${label}.${DOMAIN}`;
    const route = {
      device: label,
      scheme: 'http',
      state: 'held',
      since: String(Date.now()),
      epoch: '7',
      keepalive: '1',
      ...fields,
    };
    await this.client.multi().hset(`route:${host}`, route).publish('route.changed', host).exec();
  }

  async instance(id: string, service: string, address: string, extra: Record<string, unknown> = {}): Promise<void> {
    const record = { id, service, incarnation: 'i"1\\', address, state: 'live', started_at: 1, ports: [1, 2], ...extra };
    await this.client.set(`instance:${id}`, JSON.stringify(record), 'PX', 60_000);
    await this.client.zadd(`instance:index:${service}`, Date.now() + 60_000, id);
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    this.signal('SIGCONT');
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Ask {
  host?: string;
  path?: string;
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  address?: string;
  /** The visitor's own address. */
  from?: string;
}

/** An nginx of one's own. */
export class TestEdge {
  readonly port: number;
  readonly healthPort: number;
  readonly prefix: string;
  private readonly child: ChildProcess;

  private constructor(port: number, healthPort: number, prefix: string, child: ChildProcess) {
    this.port = port;
    this.healthPort = healthPort;
    this.prefix = prefix;
    this.child = child;
  }

  static async start(
    redisUrl: string,
    limits: Partial<Limits> = {},
    workers = 2,
    more: Partial<EdgeSettings> = {},
  ): Promise<TestEdge> {
    const prefix = mkdtempSync(join(tmpdir(), 'culvert-edge-'));
    const [port, healthPort] = [await freePort(), await freePort()];
    const settings = { prefix, port, healthPort, domain: DOMAIN, redisUrl, edgeSecret: SECRET, limits, workers };
    const { command, args, env } = prepareEdge({ ...settings, logLevel: 'notice', ...more });
    const checked = await promisify(execFile)(command, [...args, '-t'], { env: { ...process.env, ...env } });
    if (/\[(warn|error|alert|emerg)\]/.test(checked.stderr)) throw new Error(checked.stderr);
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: 'ignore' });
    const edge = new TestEdge(port, healthPort, prefix, child);
    // Both the answer and the subscription: tests of changes begin when changes are heard.
    await until('the edge answers', async () => (await edge.health()).status === 'ok');
    return edge;
  }

  async health(): Promise<Record<string, unknown>> {
    const answer = await ask({ port: this.healthPort, path: '/healthz' });
    if (answer.status !== 200) throw new Error(`/healthz: ${answer.status}`);
    return JSON.parse(answer.body);
  }

  ask(what: Ask = {}): Promise<Answer> {
    return ask({ ...what, port: this.port });
  }

  /** Sends bytes as they are and reads until the edge closes. */
  async raw(text: string, family: 4 | 6 = 4): Promise<string> {
    const socket = connect(this.port, family === 4 ? '127.0.0.1' : '::1');
    socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error('the edge did not close')));
    socket.write(text);
    let all = '';
    for await (const chunk of socket.setEncoding('latin1')) all += chunk;
    return all;
  }

  errorLog(): string {
    return readFileSync(join(this.prefix, 'logs/error.log'), 'utf8');
  }

  /** Lines of the access log, once there are at least `n` that fit. */
  accessLog(n: number, fits: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>[]> {
    return until('the lines are in the access log', () => {
      const text = readFileSync(join(this.prefix, 'logs/access.log'), 'utf8');
      const whole = text.split('\n').slice(0, -1); // a worker may be in the middle of the last one
      const lines = whole.map((line) => JSON.parse(line));
      const fitting = lines.filter(fits);
      return fitting.length >= n && fitting;
    });
  }

  reload(): void {
    this.child.kill('SIGHUP');
  }

  async stop(signal: 'SIGTERM' | 'SIGQUIT' = 'SIGTERM'): Promise<void> {
    await end(this.child, signal);
    rmSync(this.prefix, { recursive: true, force: true });
  }
}

export async function ask(what: Ask & { port: number }): Promise<Answer> {
  const req = request({
    host: what.address ?? '127.0.0.1',
    ...(what.from === undefined ? {} : { localAddress: what.from }),
    port: what.port,
    path: what.path ?? '/',
    method: what.method ?? 'GET',
    headers: { ...(what.host === undefined ? {} : { host: what.host }), ...what.headers },
    agent: false,
    timeout: DEADLINE_MS,
  });
  req.on('timeout', () => req.destroy(new Error('no answer in time')));
  req.end(what.body);
  const [res] = await once(req, 'response');
  let body = '';
  for await (const chunk of res.setEncoding('utf8')) body += chunk;
  return { status: res.statusCode, headers: res.headers, body };
}

/** What stands where a listener's port for the edge stands: an HTTP server that counts its connections. */
export class Origin {
  readonly server: Server;
  connections = 0;
  readonly port: number;
  private readonly sockets = new Set<Socket>();

  private constructor(server: Server, port: number) {
    this.server = server;
    this.port = port;
    server.on('connection', (socket) => {
      this.connections += 1;
      this.sockets.add(socket);
      socket.on('error', () => {}).once('close', () => this.sockets.delete(socket));
    });
  }

  static async start(listener: RequestListener, port = 0, host = '127.0.0.1'): Promise<Origin> {
    const server = createServer({ keepAliveTimeout: 60_000 }, listener).listen(port, host);
    await once(server, 'listening');
    return new Origin(server, (server.address() as AddressInfo).port);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    if (!this.server.listening) return;
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.sockets) socket.destroy(); // upgraded ones, too
    await closed;
  }
}

/** The same on the level of bytes. */
export async function rawOrigin(onSocket: (socket: Socket) => void): Promise<{ address: string; stop: () => Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createNetServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    onSocket(socket);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
