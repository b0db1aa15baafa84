import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bus, type CulvertEvent } from '@culvert/bus';
import { EVENTS_STREAM } from '@culvert/contracts';
import { createDeviceToken, createLogger, digestOf } from '@culvert/service-kit';
import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { prepareEdge } from '../../openresty/src/index.ts';
import { curl } from '../e2e/support.ts';
import { RunningAgent } from '../harness/agent.ts';
import { reservePorts } from '../harness/port-blocks.ts';
import { SentinelSet } from '../harness/sentinel.ts';
import { freePort, startNats } from '../harness/servers.ts';
import { eventually, type ServiceProcess, startService } from '../harness/service.ts';

const SECRET = 'secret-of-edge-and-listener';
const WIDTH = 16;
const log = createLogger('test', 'test', 'silent');

type Undo = () => unknown;

async function undoAll(steps: Undo[]): Promise<void> {
  for (const step of steps.reverse()) await step();
}

/** Real services, NATS and nginx, over a Redis that sentinels watch. */
export class World {
  readonly store: SentinelSet;
  readonly bus: Bus;
  readonly edge: string;
  readonly services: readonly ServiceProcess[];
  readonly #undo: Undo[];

  private constructor(store: SentinelSet, bus: Bus, services: ServiceProcess[], edge: string, undo: Undo[]) {
    this.store = store;
    this.bus = bus;
    this.services = services;
    this.edge = edge;
    this.#undo = undo;
  }

  /** Whatever was started is stopped again when a later step fails. */
  static async start(replicas: number): Promise<World> {
    const undo: Undo[] = [];
    try {
      return await World.#start(replicas, undo);
    } catch (error) {
      await undoAll(undo);
      throw error;
    }
  }

  static async #start(replicas: number, undo: Undo[]): Promise<World> {
    const store = await SentinelSet.start(replicas);
    undo.push(() => store.stop());
    const nats = await startNats();
    undo.push(() => nats.stop());
    const edgePort = await freePort();
    const block = await reservePorts(WIDTH);
    undo.push(() => block.release());
    const env = {
      CULVERT_REDIS_URL: store.url,
      CULVERT_NATS_URL: nats.url,
      CULVERT_PUBLIC_PORT: String(edgePort),
      CULVERT_HEARTBEAT: '1s',
      CULVERT_EDGE_SECRET: SECRET,
      CULVERT_TCP_PORTS: `${block.first}-${block.last}`,
    };
    const services: ServiceProcess[] = [];
    for (const name of ['lease-manager', 'tcp-listener', 'port-allocator', 'ws-ingress']) {
      const service = await startService(name, `${name}-1`, env);
      undo.push(() => service.stop('SIGKILL'));
      services.push(service);
    }
    const bus = await Bus.connect({ url: nats.url, name: 'test', service: 'test', log, commandMs: 5_000 });
    undo.push(() => bus.close());
    const prefix = mkdtempSync(join(tmpdir(), 'culvert-edge-'));
    const edge = prepareEdge({
      ...{ prefix, port: edgePort, healthPort: await freePort(), domain: 'culvert.localhost', workers: 1 },
      ...{ redisUrl: store.url, edgeSecret: SECRET },
    });
    undo.push(() => rmSync(prefix, { recursive: true, force: true }));
    const nginx = spawn(edge.command, edge.args, { env: { PATH: process.env.PATH, ...edge.env }, stdio: 'ignore' });
    const exited = new Promise((done) => nginx.once('exit', done));
    undo.push(() => (nginx.kill('SIGTERM') ? exited : undefined));
    return new World(store, bus, services, `http://127.0.0.1:${edgePort}`, undo);
  }

  stop(): Promise<void> {
    return undoAll(this.#undo);
  }

  /** Adds a device; its token. */
  async addDevice(device: string): Promise<string> {
    const token = createDeviceToken();
    await eventually(`${device} is added`, async () => {
      const reply = await this.bus.request('device.add', { device, token_digest: digestOf(token) }).catch(() => undefined);
      return reply?.ok;
    });
    return token;
  }

  /** Starts an agent; it need not become ready. */
  spawnAgent(name: string, token: string, mappings: string[]): RunningAgent {
    const agent = new RunningAgent(this.edge, { name, token, mappings });
    this.#undo.push(() => agent.kill());
    return agent;
  }

  async runAgent(name: string, token: string, mappings: string[]): Promise<RunningAgent> {
    const agent = this.spawnAgent(name, token, mappings);
    await agent.event('ready', 30_000);
    return agent;
  }

  async status(host: string): Promise<string> {
    return (await curl(this.edge, host, '/', '-o', '/dev/null', '-w', '%{http_code}')).stdout;
  }

  /** All events of a device so far, in the order of the stream. */
  async eventsOf(device: string): Promise<CulvertEvent[]> {
    const { state } = await (await jetstreamManager(this.bus.nc)).streams.info(EVENTS_STREAM);
    const events: CulvertEvent[] = [];
    if (state.messages === 0) return events;
    const consumer = await jetstream(this.bus.nc).consumers.get(EVENTS_STREAM);
    for await (const message of await consumer.fetch({ max_messages: state.messages, expires: 2_000 })) {
      events.push(message.json());
      if (message.info.pending === 0) break;
    }
    return events.filter(({ subject }) => subject === device);
  }
}
