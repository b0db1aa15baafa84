import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram } from '../bin/system.mjs';
import { Child, type ChildPlan } from './child.ts';
import { DEMO_NAME, DEMO_SERVER, Demo, type DemoAddresses } from './demo/demo.ts';
import { planEdge } from './edge.ts';
import type { StateLock } from './lock.ts';
import { Memory } from './memory.ts';
import { planNats } from './nats.ts';
import { NODE_FLAGS } from './node-flags.ts';
import { splitPorts } from './port-split.ts';
import { Reaper } from './reaper-client.ts';
import { planRedis } from './redis.ts';
import { instanceIds, SERVICES, type ServiceName } from './replicas.ts';
import { serveTls } from './served-tls.ts';
import { baseEnv, limitsEnv, serviceEnv } from './service-env.ts';
import type { StackSettings } from './settings.ts';
import { removeStackFile, type StackInfo, stackFilePath, writeStackFile } from './stack-file.ts';

/** Order of the stop, and how long each stage may take: who depends on others goes first. */
const STAGE = { demo: 1, traffic: 2, control: 3, storage: 4 } as const;
const STAGE_MS = 4_000;
const STAGE_OF: Readonly<Record<ServiceName, number>> = {
  'ws-ingress': STAGE.traffic,
  'tcp-listener': STAGE.traffic,
  'lease-manager': STAGE.control,
  'port-allocator': STAGE.control,
  admin: STAGE.control,
};

const FIRST: ReadonlySet<ServiceName> = new Set(['lease-manager', 'tcp-listener']);

const serviceEntry = (name: string): string => fileURLToPath(new URL(`../../../services/${name}/src/main.ts`, import.meta.url));

/** A local stack: Redis, NATS, nginx, every service and the demo device, each supervised. */
export class Stack {
  readonly #settings: StackSettings;
  readonly #lock: StateLock;
  readonly #say: (text: string) => void;
  readonly #reaper: Reaper;
  readonly #children: Child[] = [];
  readonly #services: { name: ServiceName; id: string; child: Child }[] = [];
  #describe: (() => StackInfo) | undefined;
  #stopping: Promise<void> | undefined;

  constructor(settings: StackSettings, lock: StateLock, say: (text: string) => void) {
    this.#settings = settings;
    this.#lock = lock;
    this.#say = say;
    mkdirSync(join(settings.stateDir, 'logs'), { recursive: true, mode: 0o700 });
    this.#reaper = new Reaper(this.#log('reaper'), [stackFilePath(settings.stateDir), lock.path]);
    this.#reaper.onChange = () => this.#recordPids();
  }

  #log(name: string): string {
    return join(this.#settings.stateDir, 'logs', `${name}.log`);
  }

  /** Starts everything in order. Settles when all of it is ready and stack.json is there. */
  async start(): Promise<{ info: StackInfo; demo: DemoAddresses | undefined }> {
    const { port, stateDir, limits, replicas } = this.#settings;
    removeStackFile(stateDir);
    const memory = new Memory(stateDir);
    const { split, notices } = splitPorts(this.#settings.tcpPorts, instanceIds('tcp-listener', replicas), memory.split);
    memory.split = split;
    for (const notice of notices) this.#say(`note: ${notice}`);
    const program = (name: string): string => findProgram(name) ?? name;
    const redis = planRedis(program('redis-server'), stateDir, await memory.port('redis'), memory);
    const nats = planNats(program('nats-server'), stateDir, await memory.port('nats'), limits, memory);
    const edgeSecret = memory.secret('edge');
    const tls = await serveTls(this.#settings);
    if (tls?.notice !== undefined) this.#say(`note: ${tls.notice}`);
    const healthPort = await memory.port('edge.health');
    const edge = planEdge(program('nginx'), this.#settings, { redisUrl: redis.urlOf('edge'), edgeSecret, healthPort }, tls);
    const adminToken = memory.secret('admin', 'cva_');
    const adminPorts: Record<string, number> = {};
    for (const id of instanceIds('admin', replicas)) adminPorts[id] = await memory.port(id);
    const demoPorts = { web: await memory.port('demo.web'), echo: await memory.port('demo.echo') };
    memory.save();

    await this.#reaper.start();
    const env = { ...baseEnv(process.env) };
    const redisChild = this.#add({ name: 'redis', ...redis, env, stage: STAGE.storage });
    const natsChild = this.#add({ name: 'nats', ...nats, env, stage: STAGE.storage });
    await Promise.all([redisChild.start(), natsChild.start()]);
    this.#say('Redis and NATS are ready');

    // A service that is started again has its TypeScript stripped and compiled already: half the time, while the edge waits for it.
    const compileCache = join(this.#settings.stateDir, 'compile-cache');
    for (const name of SERVICES) {
      for (const id of instanceIds(name, replicas)) {
        const addresses = {
          redisUrl: redis.urlOf(name),
          natsUrl: nats.urlOf(name),
          edgeSecret,
          adminToken,
          adminPort: adminPorts[id] ?? 0,
          ports: split.listeners[id],
          tls,
        };
        const child = this.#add({
          name: id,
          command: process.execPath,
          args: [...(NODE_FLAGS[name] ?? []), serviceEntry(name)],
          env: { ...serviceEnv(name, id, this.#settings, addresses), NODE_COMPILE_CACHE: compileCache },
          stage: STAGE_OF[name],
          ready: 'ipc',
        });
        this.#services.push({ name, id, child });
      }
    }
    const nginxChild = this.#add({
      name: 'nginx',
      ...edge,
      env: { ...env, ...limitsEnv(this.#settings), ...edge.env },
      stage: STAGE.control,
    });
    // The allocator learns of listeners when it starts: with them there first, the first device finds ports at once.
    const first = this.#services.filter(({ name }) => FIRST.has(name));
    await Promise.all(first.map(({ child }) => child.start()));
    const others = this.#services.filter(({ name }) => !FIRST.has(name));
    await Promise.all([nginxChild.start(), ...others.map(({ child }) => child.start())]);
    this.#say(`the edge and ${this.#services.length} services are ready`);

    const edgeUrl = tls?.url ?? `http://127.0.0.1:${port}`;
    const adminUrl = `${tls?.admin === undefined ? 'http' : 'https'}://127.0.0.1:${adminPorts['admin-1']}`;
    const ca = tls?.ca ?? null;
    const demo = this.#settings.demo
      ? await this.#startDemo(new Demo(stateDir, adminUrl, adminToken, edgeUrl, ca), edgeUrl, demoPorts)
      : undefined;

    this.#describe = () => ({
      edge: edgeUrl,
      ca,
      domain: this.#settings.domain,
      admin: adminUrl,
      adminToken,
      nats: nats.urlOf('integrator'),
      demo: demo?.url ?? null,
      services: this.#services.map(({ name, id, child }) => ({
        name,
        id,
        pid: child.pid ?? 0,
        health: typeof child.info?.health === 'string' ? child.info.health : '',
      })),
      redis: { pid: redisChild.pid ?? 0, address: redis.urlOf('operator') },
      natsServer: { pid: natsChild.pid ?? 0, address: nats.urlOf('operator') },
      nginx: { pid: nginxChild.pid ?? 0, address: edgeUrl, health: `http://127.0.0.1:${healthPort}/healthz` },
    });
    const info = this.#describe();
    this.#publish();
    return { info, demo };
  }

  async #startDemo(demo: Demo, edgeUrl: string, ports: { web: number; echo: number }): Promise<DemoAddresses | undefined> {
    await demo.register();
    const env = baseEnv(process.env);
    const run = { command: process.execPath, env, stage: STAGE.demo };
    const server = this.#add({ ...run, name: 'demo-server', args: [DEMO_SERVER, `${ports.web}`, `${ports.echo}`], ready: 'ipc' });
    let addresses: DemoAddresses | undefined;
    const agent = this.#add({
      ...run,
      name: 'demo-agent',
      args: demo.agentArgs(edgeUrl, ports.web, ports.echo),
      ready: async () => {
        addresses = await demo.reach();
        return addresses !== undefined;
      },
    });
    await server.start();
    await agent.start();
    this.#say(`the device "${DEMO_NAME}" is connected`);
    return addresses;
  }

  #add(plan: Omit<ChildPlan, 'logPath'>): Child {
    if (this.#stopping !== undefined) throw new Error('the stack is being stopped');
    const { name, command, args, env, stage, ready } = plan;
    const child = new Child(
      { name, command, args, env, stage, ready, logPath: this.#log(name) },
      {
        started: (_, pid) => {
          this.#reaper.add(pid, stage);
          this.#recordPids();
        },
        ended: (_, pid) => this.#reaper.remove(pid),
        ready: () => this.#publish(),
        died: (_, how, delayMs) => this.#say(`${name} ended (${how}); starting it again in ${delayMs} ms`),
      },
    );
    this.#children.push(child);
    return child;
  }

  #recordPids(): void {
    const pids = this.#children.flatMap(({ pid }) => (pid === undefined ? [] : [pid]));
    this.#lock.record(this.#reaper.pid, pids);
  }

  /** Before everything is ready, and while something is being restarted, the file stays as it is. */
  #publish(): void {
    if (this.#describe === undefined || this.#stopping !== undefined) return;
    const info = this.#describe();
    const pids = [...info.services, info.redis, info.natsServer, info.nginx].map(({ pid }) => pid);
    if (!pids.includes(0)) writeStackFile(this.#settings.stateDir, info);
  }

  /** Ends everything, stage by stage, each within its deadline. Twice is safe. */
  stop(): Promise<void> {
    this.#stopping ??= this.#end();
    return this.#stopping;
  }

  async #end(): Promise<void> {
    removeStackFile(this.#settings.stateDir);
    for (const stage of Object.values(STAGE)) {
      await Promise.all(this.#children.filter(({ plan }) => plan.stage === stage).map((child) => child.stop(STAGE_MS)));
    }
    await this.#reaper.close();
    this.#lock.release();
  }
}
