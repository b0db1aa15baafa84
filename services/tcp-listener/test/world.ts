import { connect, type Socket } from 'node:net';
import { Bus, type CommandReply, type CommandRequest, type CulvertEvent } from '@culvert/bus';
import type { Lease } from '@culvert/contracts';
import { createDeviceToken, digestOf } from '@culvert/service-kit';
import { Redis } from 'ioredis';
import { WebSocket } from 'ws';
import { freePort, type ServerProcess, startNats, startRedis } from '../../../test/harness/servers.ts';
import { eventually, type ServiceProcess, startService } from '../../../test/harness/service.ts';

export const LISTENER = 'tcp-listener-1';
export const INGRESS = 'ws-ingress-1';
export const SECRET = 'edge-secret';
export const TOKEN = createDeviceToken();

type Dial = CommandRequest<'ingress.dial'>;
export type Bind = CommandRequest<'listener.bind'>;
type ListReply = Extract<CommandReply<'lease.list'>, { ok: true }>;

/** Lease-manager, ws-ingress and devices, played by the test over real buses and sockets. */
export class World {
  readonly redis: ServerProcess;
  readonly nats: ServerProcess;
  readonly bus: Bus;
  readonly dials: Dial[] = [];
  readonly events: CulvertEvent[] = [];
  /** What the device does when it is dialled; by default it answers nothing. */
  onDial: (dial: Dial) => void = () => {};
  dialReply: (dial: Dial) => CommandReply<'ingress.dial'> | Promise<CommandReply<'ingress.dial'>> = () => ({ ok: true });
  /** Comes before every answer to what a listener asserts. */
  onReassert: () => Promise<void> = async () => {};
  leases: ListReply['leases'] = [];
  at = { host: '127.0.0.1', port: 0 };
  #epoch = 1000;

  private constructor(redis: ServerProcess, nats: ServerProcess, bus: Bus) {
    this.redis = redis;
    this.nats = nats;
    this.bus = bus;
  }

  static async start(): Promise<World> {
    const [redis, nats] = await Promise.all([startRedis(), startNats()]);
    const silent = { info: () => {}, warn: () => {}, error: () => {} };
    const bus = await Bus.connect({ url: nats.url, name: 'test', service: 'lease-manager', log: silent, commandMs: 5_000 });
    const world = new World(redis, nats, bus);
    await bus.serve('0.1.0', {
      'lease.list': (request) => world.#list(request),
      'lease.reassert': async () => {
        await world.onReassert();
        return { ok: true, store: 'x', lost: [] };
      },
    });
    await bus.serveInstance(INGRESS, {
      'ingress.dial': async (dial) => {
        const reply = await world.dialReply(dial);
        if (reply.ok) {
          world.dials.push(dial);
          world.onDial(dial);
        }
        return reply;
      },
    });
    bus.nc.subscribe('conn.*.*', { callback: (_error, message) => void world.events.push(message.json<CulvertEvent>()) });
    return world;
  }

  /** Pages of two, so that paging is walked. */
  #list({ listener, cursor }: CommandRequest<'lease.list'>): ListReply {
    const from = Number(cursor ?? 0);
    const leases = this.leases.filter(({ lease }) => lease.listener === listener);
    return {
      ok: true,
      leases: leases.slice(from, from + 2),
      cursor: from + 2 < leases.length ? String(from + 2) : null,
      store: 'x',
    };
  }

  async startListener(env: Record<string, string> = {}): Promise<ServiceProcess> {
    const listener = await startService('tcp-listener', LISTENER, {
      CULVERT_REDIS_URL: this.redis.url,
      CULVERT_NATS_URL: this.nats.url,
      CULVERT_EDGE_SECRET: SECRET,
      CULVERT_TCP_PORTS: '20000-20999',
      CULVERT_LIMIT_CLOSE_MS: '500',
      ...env,
    });
    const redis = new Redis(this.redis.url);
    const text = await redis.get(`instance:${LISTENER}`);
    redis.disconnect();
    const url = new URL(`http://${(JSON.parse(text ?? '{}') as { address: string }).address}`);
    this.at = { host: url.hostname, port: Number(url.port) };
    return listener;
  }

  nextEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  /** A tenure with one tcp endpoint (22) and one http endpoint (80), on free ports. */
  async tenure(device: string, changes: Partial<Bind> = {}): Promise<Bind & { tcp: number; http: number }> {
    const [tcp, http] = [await freePort(), await freePort()];
    return {
      ...{ device, epoch: this.nextEpoch(), rev: 1, state: 'held', since: Date.now(), ingress: INGRESS, mode: 'carry', warm: 0 },
      ports: [
        { port: 22, scheme: 'tcp', public_port: tcp },
        { port: 80, scheme: 'http', host: `${device}.culvert.localhost`, public_port: http },
      ],
      token_digests: [digestOf(TOKEN)],
      transfers: 256,
      max_frame: 65_536,
      ...changes,
      tcp,
      http,
    };
  }

  bind({ tcp: _tcp, http: _http, ...tenure }: Bind & { tcp: number; http: number }): Promise<CommandReply<'listener.bind'>> {
    return this.bus.requestOf(LISTENER, 'listener.bind', tenure);
  }

  async bound(device: string, changes: Partial<Bind> = {}): Promise<Bind & { tcp: number; http: number }> {
    const tenure = await this.tenure(device, changes);
    const reply = await this.bind(tenure);
    if (!reply.ok) throw new Error(reply.message);
    return tenure;
  }

  leaseOf({ device, epoch, rev, state, since, ports, transfers, max_frame }: Bind): Lease {
    const place = { ingress: INGRESS, control: 'c', listener: LISTENER, boot: '', remote: '', warm: 0, due: null };
    return { device, epoch, rev, state, since, endpoints: ports, transfers, max_frame, ...place };
  }

  /** The device's side of a transfer. */
  transfer(path: string, token = TOKEN): DeviceTransfer {
    return new DeviceTransfer(`ws://${this.at.host}:${this.at.port}${path}`, token);
  }

  /** Devices answer every dial with a transfer that echoes, END included. */
  echo(): void {
    this.onDial = ({ path }) => {
      const transfer = this.transfer(path);
      transfer.onData = (data) => transfer.ws.send(data);
    };
  }

  async stop(): Promise<void> {
    await this.bus.close();
    await Promise.all([this.redis.stop(), this.nats.stop()]);
  }
}

export class DeviceTransfer {
  readonly ws: WebSocket;
  readonly chunks: Buffer[] = [];
  ended = false;
  status: number | undefined;
  closed: { code: number; reason: string } | undefined;
  /** Gets the empty message, which is END, as well. */
  onData: (data: Buffer) => void = () => {};

  constructor(url: string, token: string, tls: { ca?: Buffer } = {}) {
    const headers = { authorization: `Bearer ${token}` };
    this.ws = new WebSocket(url, 'culvert.v1', { headers, perMessageDeflate: false, ...tls });
    this.ws.on('message', (data: Buffer) => {
      if (data.length === 0) this.ended = true;
      else this.chunks.push(data);
      this.onData(data);
    });
    this.ws.on('upgrade', () => {
      this.status = 101;
    });
    this.ws.on('unexpected-response', (request, response) => {
      this.status = response.statusCode;
      request.destroy();
    });
    this.ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
    this.ws.on('error', () => {});
  }

  text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  answered(): Promise<number> {
    return eventually('the answer to the handshake', () => this.status);
  }
}

export class Visitor {
  readonly socket: Socket;
  readonly chunks: Buffer[] = [];
  ended = false;
  error: NodeJS.ErrnoException | undefined;
  closed = false;

  constructor(port: number, host = '127.0.0.1') {
    this.socket = connect({ port, host, allowHalfOpen: true });
    this.socket.on('data', (chunk) => this.chunks.push(chunk));
    this.socket.on('end', () => {
      this.ended = true;
    });
    this.socket.on('error', (error) => {
      this.error = error;
    });
    this.socket.on('close', () => {
      this.closed = true;
    });
  }

  text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  end(): Promise<true> {
    return eventually('the visitor to see the end', () => (this.ended || this.closed ? true : undefined));
  }

  reset(): Promise<NodeJS.ErrnoException> {
    return eventually('the visitor to be reset', () => this.error);
  }
}
