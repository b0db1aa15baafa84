import { execFileSync, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jetstream } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { type AgentOptions, type CliOutput, RunningAgent, runCli } from './agent.ts';
import { freePort } from './servers.ts';

export type { RunningAgent } from './agent.ts';

/** `stack.json`, as others read it. */
export interface StackInfo {
  edge: string;
  domain: string;
  admin: string;
  adminToken: string;
  nats: string;
  demo: string | null;
  services: { name: string; id: string; pid: number; health: string }[];
  redis: { pid: number; address: string };
  natsServer: { pid: number; address: string };
  nginx: { pid: number; address: string };
}

export interface StackOptions {
  /** Added to the environment; the demo device is left out unless CULVERT_DEMO says otherwise. */
  env?: Record<string, string>;
  /** Kept at the stop when given; a private one is made and removed otherwise. */
  stateDir?: string;
  /** How many public TCP ports; default 200. */
  tcpPorts?: number;
}

export interface CulvertEventLike {
  id: string;
  type: string;
  subject: string;
  time: string;
  data: Record<string, unknown>;
}

export interface EventReader {
  /** The next event in the order of the bus. */
  next(deadlineMs?: number): Promise<CulvertEventLike>;
  close(): Promise<void>;
}

const MAIN = fileURLToPath(new URL('../../deploy/local/src/main.ts', import.meta.url));
const READY_MS = 90_000;
const STOP_MS = 30_000;

/** The whole system, as `npm start` runs it, on free ports and with a state dir of its own. */
export class Stack {
  info: StackInfo;
  readonly stateDir: string;
  readonly #env: Record<string, string>;
  readonly #ownsDir: boolean;
  #child: ReturnType<typeof fork>;
  readonly #agents = new Set<RunningAgent>();

  private constructor(
    info: StackInfo,
    child: ReturnType<typeof fork>,
    stateDir: string,
    ownsDir: boolean,
    env: Record<string, string>,
  ) {
    this.info = info;
    this.#child = child;
    this.stateDir = stateDir;
    this.#ownsDir = ownsDir;
    this.#env = env;
  }

  static async start(options: StackOptions = {}): Promise<Stack> {
    const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'culvert-stack-'));
    const width = options.tcpPorts ?? 200;
    const first = await freeRange(width);
    const env = {
      CULVERT_DEMO: '0',
      CULVERT_PORT: String(await freePort()),
      CULVERT_TCP_PORTS: `${first}-${first + width - 1}`,
      CULVERT_STATE_DIR: stateDir,
      ...options.env,
    };
    const { child, info } = await launch(env, stateDir);
    return new Stack(info, child, stateDir, options.stateDir === undefined, env);
  }

  /** `stack.json` as it is now; undefined while there is none. Also refreshes `info`. */
  readInfo(): StackInfo | undefined {
    const info = readStackFile(this.stateDir);
    if (info !== undefined) this.info = info;
    return info;
  }

  /** Stops the whole system and starts it again with the same settings and state. */
  async restart(): Promise<void> {
    await this.#halt();
    const { child, info } = await launch(this.#env, this.stateDir);
    this.#child = child;
    this.info = info;
  }

  async stop(): Promise<void> {
    for (const agent of this.#agents) await agent.kill();
    await this.#halt();
    if (this.#ownsDir) rmSync(this.stateDir, { recursive: true, force: true });
  }

  async #halt(): Promise<void> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGTERM');
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await exited;
    clearTimeout(late);
  }

  /** The real command line, with this stack's state dir. */
  culvert(...args: string[]): Promise<CliOutput> {
    return runCli(['--state-dir', this.stateDir, ...args]);
  }

  /** Adds a device; resolves with its token. */
  async addDevice(name: string): Promise<string> {
    const answer = await fetch(new URL('/v1/devices', this.info.admin), {
      method: 'POST',
      headers: { authorization: `Bearer ${this.info.adminToken}`, 'content-type': 'application/json' },
      body: JSON.stringify({ name }),
    });
    if (answer.status !== 201) throw new Error(`adding ${name}: ${answer.status} ${await answer.text()}`);
    return ((await answer.json()) as { token: string }).token;
  }

  /** Starts the agent's real command line; it need not become ready. */
  spawnAgent(options: AgentOptions): RunningAgent {
    const agent = new RunningAgent(this.info.edge, options);
    this.#agents.add(agent);
    return agent;
  }

  /** The same, and waits until it is ready. */
  async runAgent(options: AgentOptions): Promise<RunningAgent> {
    const agent = this.spawnAgent(options);
    await agent.event('ready', 30_000);
    return agent;
  }

  /** A connection with the integrator's credentials of `stack.json`. */
  integrator(): Promise<NatsConnection> {
    const { host, username, password } = new URL(this.info.nats);
    return connect({ servers: host, user: decodeURIComponent(username), pass: decodeURIComponent(password) });
  }

  /** Follows both streams from now on as an integrator would, by subject. */
  async events(subject: string): Promise<EventReader> {
    const nats = await this.integrator();
    const queue: CulvertEventLike[] = [];
    let wake: () => void = () => {};
    nats.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        queue.push(message.json<CulvertEventLike>());
        wake();
      },
    });
    await nats.flush();
    return {
      next: async (deadlineMs = 15_000) => {
        const end = Date.now() + deadlineMs;
        while (queue.length === 0) {
          const left = end - Date.now();
          if (left <= 0) throw new Error(`no event on ${subject} for ${deadlineMs} ms`);
          await new Promise<void>((resolve) => {
            const timer = setTimeout(resolve, left);
            wake = () => {
              clearTimeout(timer);
              resolve();
            };
          });
        }
        return queue.shift() as CulvertEventLike;
      },
      close: () => nats.close(),
    };
  }

  /** All events that a stream holds now, oldest first, read by an ordered consumer. */
  async storedEvents(stream: string, subject: string): Promise<CulvertEventLike[]> {
    const nats = await this.integrator();
    try {
      const consumer = await jetstream(nats).consumers.get(stream, { filter_subjects: subject });
      const { num_pending: pending } = await consumer.info();
      const events: CulvertEventLike[] = [];
      if (pending === 0) return events;
      const messages = await consumer.consume();
      for await (const message of messages) {
        events.push(message.json<CulvertEventLike>());
        if (message.info.pending === 0) break;
      }
      await messages.close();
      return events;
    } finally {
      await nats.close();
    }
  }
}

export const startStack = (options: StackOptions = {}): Promise<Stack> => Stack.start(options);

async function launch(
  env: Record<string, string>,
  stateDir: string,
): Promise<{ child: ReturnType<typeof fork>; info: StackInfo }> {
  const child = fork(MAIN, [], {
    env: { PATH: process.env.PATH, ...env },
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-20_000);
    });
  }
  const until = Date.now() + READY_MS;
  for (;;) {
    const info = readStackFile(stateDir);
    if (info !== undefined) return { child, info };
    if (child.exitCode !== null) throw new Error(`the stack exited with ${child.exitCode}:\n${output}`);
    if (Date.now() > until) {
      child.kill('SIGTERM');
      throw new Error(`the stack is not ready after ${READY_MS} ms:\n${output}\n${logTails(stateDir)}`);
    }
    await new Promise((done) => setTimeout(done, 50));
  }
}

function readStackFile(stateDir: string): StackInfo | undefined {
  try {
    return JSON.parse(readFileSync(join(stateDir, 'stack.json'), 'utf8')) as StackInfo;
  } catch {
    return undefined;
  }
}

function logTails(stateDir: string): string {
  try {
    return execFileSync('sh', ['-c', 'tail -n 5 "$1"/logs/*.log', 'sh', stateDir], { encoding: 'utf8' });
  } catch {
    return '';
  }
}

/** The first of `width` ports in a row that nobody listens on. Taken from below the kernel's ephemeral range. */
async function freeRange(width: number): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt += 1) {
    const first = 10_000 + Math.floor(Math.random() * (22_000 - width));
    if ((await isFree(first)) && (await isFree(first + width - 1)) && (await isFree(first + (width >> 1)))) return first;
  }
  throw new Error(`no ${width} free ports in a row were found`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '::', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
