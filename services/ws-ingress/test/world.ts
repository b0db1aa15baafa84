import { connect, type Socket } from 'node:net';
import { Bus, type CommandReply, type CommandRequest } from '@culvert/bus';
import type { Endpoint } from '@culvert/contracts';
import { createDeviceToken, digestOf } from '@culvert/service-kit';
import { WebSocket } from 'ws';
import { type ServerProcess, startNats, startRedis } from '../../../test/harness/servers.ts';
import { eventually, type ServiceProcess, startService } from '../../../test/harness/service.ts';

export const INGRESS = 'ws-ingress-1';
export const TOKEN = createDeviceToken();

/** The lease-manager's part, played by the test: it grants everything unless told otherwise. */
export class World {
  readonly redis: ServerProcess;
  readonly nats: ServerProcess;
  readonly bus: Bus;
  readonly acquired: CommandRequest<'lease.acquire'>[] = [];
  readonly released: CommandRequest<'lease.release'>[] = [];
  readonly refused: CommandRequest<'listener.refused'>[] = [];
  onAcquire: (request: CommandRequest<'lease.acquire'>) => Promise<CommandReply<'lease.acquire'>>;
  /** Comes before every answer to what an ingress asserts. */
  onReassert: () => Promise<void> = async () => {};
  onRelease: () => CommandReply<'lease.release'> = () => ({ ok: true, state: 'grace' });
  /** What `lease.get` answers, by device. */
  readonly leases = new Map<string, { epoch: number; control: string }>();
  #epoch = 1000;

  private constructor(redis: ServerProcess, nats: ServerProcess, bus: Bus) {
    this.redis = redis;
    this.nats = nats;
    this.bus = bus;
    this.onAcquire = async (request) => this.grant(request);
  }

  static async start(): Promise<World> {
    const [redis, nats] = await Promise.all([startRedis(), startNats()]);
    const silent = { info: () => {}, warn: () => {}, error: () => {} };
    const bus = await Bus.connect({ url: nats.url, name: 'test', service: 'lease-manager', log: silent, commandMs: 5_000 });
    const world = new World(redis, nats, bus);
    await bus.serve('0.1.0', {
      'lease.acquire': (request) => {
        world.acquired.push(request);
        return world.onAcquire(request);
      },
      'lease.release': (request) => {
        world.released.push(request);
        return world.onRelease();
      },
      'lease.reassert': async ({ leases }) => {
        await world.onReassert();
        const lost = leases.filter(({ device, epoch, control }) => {
          const known = world.leases.get(device);
          return known?.epoch !== epoch || known.control !== control;
        });
        return { ok: true, store: 'x', lost: lost.map(({ device, epoch }) => ({ device, epoch, code: 'lease_lost' })) };
      },
      'lease.get': ({ device }) => ({ ok: true, lease: world.#leaseOf(device) }),
    });
    await bus.serveInstance('tcp-listener-1', {
      'listener.refused': (request) => {
        world.refused.push(request);
        return { ok: true };
      },
    });
    return world;
  }

  grant({ device, ports, control }: CommandRequest<'lease.acquire'>): CommandReply<'lease.acquire'> {
    this.#epoch += 1;
    this.leases.set(device, { epoch: this.#epoch, control });
    const endpoints: Endpoint[] = ports.map(({ port, scheme }, index) => ({
      port,
      scheme,
      public_port: 20_000 + index,
      ...(scheme === 'tcp' ? {} : { host: `${device}-x7k2.culvert.localhost` }),
    }));
    return { ok: true, epoch: this.#epoch, resumed: false, grace_ms: 60_000, listener: 'tcp-listener-1', endpoints };
  }

  #leaseOf(device: string) {
    const lease = this.leases.get(device);
    if (lease === undefined) return null;
    const rest = { rev: 1, since: 1, due: null, listener: 'tcp-listener-1', endpoints: [], boot: '', remote: '', warm: 0 };
    return { ...rest, ...lease, device, state: 'held' as const, ingress: INGRESS, transfers: 1, max_frame: 1024 };
  }

  startIngress(env: Record<string, string> = {}, id = INGRESS): Promise<ServiceProcess> {
    return startService('ws-ingress', id, {
      CULVERT_REDIS_URL: this.redis.url,
      CULVERT_NATS_URL: this.nats.url,
      CULVERT_PUBLIC_PORT: '8080',
      ...env,
    });
  }

  /** host:port of an ingress, as the edge finds it. */
  async addressOf(id = INGRESS): Promise<{ host: string; port: number }> {
    const text = await redisGet(this.redis.port, `instance:${id}`);
    const { address } = JSON.parse(text) as { address: string };
    const url = new URL(`http://${address}`);
    return { host: url.hostname, port: Number(url.port) };
  }

  async stop(): Promise<void> {
    await this.bus.close();
    await Promise.all([this.redis.stop(), this.nats.stop()]);
  }
}

async function redisGet(port: number, key: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => void socket.write(`GET ${key}\r\n`));
    socket.once('data', (chunk) => {
      socket.destroy();
      resolve(chunk.toString().split('\r\n')[1] ?? '');
    });
    socket.once('error', reject);
  });
}

type Text = Record<string, unknown>;

/** A device's control connection, made with a foreign WebSocket library. */
export class RawDevice {
  readonly ws: WebSocket;
  readonly messages: Text[] = [];
  closed: { code: number; reason: string } | undefined;

  constructor(
    at: { host: string; port: number },
    query: string,
    options: { token?: string; headers?: Record<string, string> } = {},
  ) {
    this.ws = new WebSocket(`ws://${at.host}:${at.port}/v1/control?${query}`, 'culvert.v1', {
      headers: { authorization: `Bearer ${options.token ?? TOKEN}`, ...options.headers },
      perMessageDeflate: false,
    });
    this.ws.on('message', (data) => this.messages.push(JSON.parse(data.toString()) as Text));
    this.ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    this.ws.on('error', () => {});
  }

  message(type: string): Promise<Text> {
    return eventually(`a message ${type}`, () => this.messages.find((message) => message.type === type));
  }

  end(): Promise<{ code: number; reason: string }> {
    return eventually('the close', () => this.closed);
  }

  send(message: Text): void {
    this.ws.send(JSON.stringify(message));
  }
}

export interface Answer {
  status: number;
  headers: Map<string, string>;
  body: { code?: string; message?: string };
}

export const GOOD_HEADERS: Record<string, string> = {
  host: 'culvert.localhost',
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'sec-websocket-protocol': 'culvert.v1',
  authorization: `Bearer ${TOKEN}`,
};

/** Sends one request byte by byte as given and reads the answer until the server closes. */
export function ask(at: { host: string; port: number }, target: string, headers: Record<string, string>): Promise<Answer> {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return send(at, `GET ${target} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
}

export function send(at: { host: string; port: number }, text: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(at.port, at.host, () => void socket.write(text));
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk.toString();
    });
    socket.on('error', reject);
    socket.on('close', () => {
      const [head = '', body = ''] = answer.split('\r\n\r\n');
      const [first = '', ...lines] = head.split('\r\n');
      const headers = new Map(
        lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
      );
      resolve({ status: Number(first.split(' ')[1]), headers, body: body === '' ? {} : (JSON.parse(body) as Answer['body']) });
    });
  });
}

export const digest = digestOf(TOKEN);
