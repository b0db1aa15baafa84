import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Bus, type CommandReply, type CommandRequest, type CulvertEvent } from '@culvert/bus';
import { DEFAULT_LIMITS, EVENTS_STREAM } from '@culvert/contracts';
import { createLogger, InstanceRegistration } from '@culvert/service-kit';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { Redis } from 'ioredis';
import { type ServerProcess, startNats, startRedis } from '../../../test/harness/servers.ts';

const log = createLogger('test', 'test', process.env.CULVERT_TEST_LOG ?? 'silent');

const GRANTED_MS = 5_000;

type Bind = CommandRequest<'listener.bind'>;

/** Stands in for a tcp-listener: remembers what it was told, and answers as the test wants. */
export interface ListenerStub {
  id: string;
  /** The newest bind of every device. */
  bound: Map<string, Bind>;
  calls: string[];
  onBind: (bind: Bind) => CommandReply<'listener.bind'> | Promise<CommandReply<'listener.bind'>>;
  stop(): Promise<void>;
}

/** Stands in for a ws-ingress. */
export interface IngressStub {
  id: string;
  closed: { device: string; epoch: number; code: string }[];
  /** The newest endpoints that a device was told of in the midst of its tenure. */
  told: Map<string, CommandRequest<'ingress.endpoints'>>;
  /** `silent`: nothing is answered, as by a process that stands still. */
  holder: 'alive' | 'dead' | 'silent';
  /** Its process is gone: no key, nobody serves it. */
  stop(): Promise<void>;
}

export interface Service {
  readonly pid: number | undefined;
  stop(): Promise<void>;
  kill(): Promise<void>;
}

/** Real Redis, NATS, lease-managers and port-allocators; listeners and ingresses are stubs on the real bus. */
export class Stack {
  readonly redisServer: ServerProcess;
  readonly natsServer: ServerProcess;
  readonly redis: Redis;
  readonly bus: Bus;
  readonly #env: NodeJS.ProcessEnv;
  readonly #undo: (() => Promise<void> | void)[] = [];

  private constructor(
    redisServer: ServerProcess,
    natsServer: ServerProcess,
    redis: Redis,
    bus: Bus,
    limits: Record<string, number>,
  ) {
    this.redisServer = redisServer;
    this.natsServer = natsServer;
    this.redis = redis;
    this.bus = bus;
    this.#env = { PATH: process.env.PATH, CULVERT_REDIS_URL: redisServer.url, CULVERT_NATS_URL: natsServer.url };
    for (const [name, value] of Object.entries(limits)) this.#env[`CULVERT_LIMIT_${name}`] = String(value);
  }

  /** @param commandMs How long the test itself waits for the reply to a command. */
  static async start(limits: Record<string, number> = {}, commandMs = 10_000): Promise<Stack> {
    const [redisServer, natsServer] = await Promise.all([startRedis(), startNats()]);
    const redis = new Redis(redisServer.url);
    redis.on('error', () => {});
    const bus = await Bus.connect({ url: natsServer.url, name: 'test', service: 'test', log, commandMs });
    return new Stack(redisServer, natsServer, redis, bus, limits);
  }

  async stop(): Promise<void> {
    for (const undo of this.#undo.reverse()) await undo();
    await this.bus.close();
    this.redis.disconnect();
    await Promise.all([this.redisServer.stop(), this.natsServer.stop()]);
  }

  /** Starts `services/<name>/src/main.ts` and waits until it is ready. */
  async service(name: 'lease-manager' | 'port-allocator', number = 1): Promise<Service> {
    const main = fileURLToPath(new URL(`../../${name}/src/main.ts`, import.meta.url));
    const child: ChildProcess = spawn(process.execPath, [main], {
      env: { ...this.#env, CULVERT_INSTANCE_ID: `${name}-${number}`, CULVERT_LOG_LEVEL: 'info' },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-20_000);
        if (process.env.CULVERT_TEST_LOG) process.stderr.write(chunk);
      });
    }
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('exit', (code) => reject(new Error(`${name} exited with ${code}:\n${output}`)));
    });
    const end = async (signal: NodeJS.Signals): Promise<void> => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = new Promise((done) => child.once('exit', done));
      child.kill(signal);
      await exited;
    };
    this.#undo.push(() => end('SIGKILL'));
    return { pid: child.pid, stop: () => end('SIGTERM'), kill: () => end('SIGKILL') };
  }

  async #instance(id: string, service: string, more: object): Promise<{ bus: Bus; registration: InstanceRegistration }> {
    const bus = await Bus.connect({ url: this.natsServer.url, name: id, service, log, commandMs: 2_000 });
    const limits = { ...DEFAULT_LIMITS, INSTANCE_TTL_MS: 1_000, INSTANCE_RENEW_MS: 200 };
    const registration = new InstanceRegistration(this.redis, limits, log, { id, service, address: '127.0.0.1:1', ...more });
    await registration.start();
    return { bus, registration };
  }

  async listener(id: string, ports: readonly [number, number], host = '127.0.0.1'): Promise<ListenerStub> {
    const { bus, registration } = await this.#instance(id, 'tcp-listener', { ports, host });
    const stub: ListenerStub = {
      id,
      bound: new Map(),
      calls: [],
      onBind: () => ({ ok: true }),
      stop: async () => {
        await registration.stop();
        await bus.close();
      },
    };
    await bus.serveInstance(id, {
      'listener.bind': async (bind) => {
        stub.calls.push(`bind ${bind.device} ${bind.state} ${bind.mode}`);
        const known = stub.bound.get(bind.device);
        if (known !== undefined && (known.epoch > bind.epoch || (known.epoch === bind.epoch && known.rev > bind.rev))) {
          return { ok: false, code: 'lease_lost', message: 'older than what is bound' };
        }
        const reply = await stub.onBind(bind);
        if (reply.ok) stub.bound.set(bind.device, bind);
        return reply;
      },
      'listener.unbind': ({ device, epoch }) => {
        stub.calls.push(`unbind ${device}`);
        if ((stub.bound.get(device)?.epoch ?? 0) <= epoch) stub.bound.delete(device);
        return { ok: true };
      },
      'listener.cut': ({ device, code }) => {
        stub.calls.push(`cut ${device} ${code}`);
        return { ok: true, cut: 0 };
      },
    });
    this.#undo.push(() => stub.stop());
    return stub;
  }

  async ingress(id: string): Promise<IngressStub> {
    const { bus, registration } = await this.#instance(id, 'ws-ingress', {});
    const stub: IngressStub = {
      id,
      closed: [],
      told: new Map(),
      holder: 'alive',
      stop: async () => {
        await registration.stop();
        await bus.close();
      },
    };
    const answerable = () => (stub.holder === 'silent' ? new Promise<never>(() => {}) : undefined);
    await bus.serveInstance(id, {
      'ingress.probe': async () => {
        await answerable();
        return { ok: true, alive: stub.holder === 'alive' };
      },
      'ingress.endpoints': (told) => {
        stub.told.set(told.device, told);
        return { ok: true };
      },
      'ingress.close': async ({ device, epoch, code }) => {
        await answerable();
        stub.closed.push({ device, epoch, code });
        return { ok: true, closed: true };
      },
    });
    this.#undo.push(() => stub.stop());
    return stub;
  }

  async addDevice(device: string): Promise<void> {
    const reply = await this.bus.request('device.add', { device, token_digest: digest(device) });
    if (!reply.ok) throw new Error(reply.message);
  }

  acquire(device: string, more: Partial<CommandRequest<'lease.acquire'>> = {}): Promise<CommandReply<'lease.acquire'>> {
    return this.bus.request('lease.acquire', {
      device,
      token_digest: digest(device),
      ports: [
        { port: 80, scheme: 'http' },
        { port: 22, scheme: 'tcp' },
      ],
      boot: '',
      ingress: 'ws-ingress-1',
      control: 'c1',
      remote: '192.0.2.1',
      warm: 0,
      transfers: 256,
      max_frame: 65_536,
      ...more,
    });
  }

  async granted(device: string, more: Partial<CommandRequest<'lease.acquire'>> = {}) {
    for (const until = Date.now() + GRANTED_MS; ; ) {
      const reply = await this.acquire(device, more);
      if (reply.ok) return reply;
      // This very process renews the keys of its stubs: while it stands still they are gone. A device comes again, too.
      if (reply.code !== 'unavailable' || Date.now() > until) throw new Error(`${reply.code}: ${reply.message}`);
      await new Promise((wake) => setTimeout(wake, 100));
    }
  }

  /** All events of the stream so far. */
  async events(): Promise<CulvertEvent[]> {
    const jsm = await jetstreamManager(this.bus.nc);
    const { state } = await jsm.streams.info(EVENTS_STREAM);
    const events: CulvertEvent[] = [];
    if (state.messages === 0) return events;
    const consumer = await jetstream(this.bus.nc).consumers.get(EVENTS_STREAM);
    const batch = await consumer.fetch({ max_messages: state.messages, expires: 2_000 });
    for await (const message of batch) {
      events.push(message.json());
      if (events.length === state.messages) break;
    }
    return events;
  }

  /** The types of a device's events, once there are at least so many. */
  async eventsOf(device: string, atLeast: number): Promise<string[]> {
    let types: string[] = [];
    await until(async () => {
      const events = await this.events().catch(() => []);
      types = events
        .filter(({ subject }) => subject === device)
        .map(({ type, data }) => `${type} ${'reason' in data ? data.reason : ''}`);
      return types.length >= atLeast;
    });
    return types;
  }
}

export const digest = (text: string): string => Buffer.from(text).toString('hex').padEnd(64, '0').slice(0, 64);

export async function until(well: () => Promise<boolean> | boolean, ms = 15_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await well())) {
    if (Date.now() > deadline) throw new Error(`it did not come true in ${ms} ms`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
