import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { jetstream } from '@nats-io/jetstream';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Agent, fetch, request } from 'undici';
import { type AgentOptions, type CliOutput, RunningAgent, runCli } from './agent.ts';
import { type PortBlock, reservePorts } from './port-blocks.ts';

export type { RunningAgent } from './agent.ts';

/** `stack.json`, as others read it. */
export interface StackInfo {
  edge: string;
  ca: string | null;
  domain: string;
  admin: string;
  adminToken: string;
  nats: string;
  demo: string | null;
  services: { name: string; id: string; pid: number; health: string }[];
  redis: { pid: number; address: string };
  natsServer: { pid: number; address: string };
  nginx: { pid: number; address: string; health: string };
}

export interface StackOptions {
  /** Added to the environment; the demo device is left out unless CULVERT_DEMO says otherwise. */
  env?: Record<string, string>;
  /** Kept at the stop when given; a private one is made and removed otherwise. */
  stateDir?: string;
  /** How many public TCP ports; default 99. */
  tcpPorts?: number;
  /** Everything by TLS, with an authority of the stack's own. */
  tls?: boolean;
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
  readonly stateDir: string;
  readonly #env: Record<string, string>;
  readonly #ownsDir: boolean;
  readonly #ports: PortBlock;
  readonly #agents = new Set<RunningAgent>();
  #child: ChildProcess;
  #info: StackInfo;
  #dispatcher: Agent | undefined;

  private constructor(running: Running, ports: PortBlock, stateDir: string, ownsDir: boolean, env: Record<string, string>) {
    this.#info = running.info;
    this.#child = running.child;
    this.#ports = ports;
    this.stateDir = stateDir;
    this.#ownsDir = ownsDir;
    this.#env = env;
  }

  static async start(options: StackOptions = {}): Promise<Stack> {
    const ownsDir = options.stateDir === undefined;
    const stateDir = options.stateDir ?? mkdtempSync(join(tmpdir(), 'culvert-stack-'));
    const ports = await reservePorts((options.tcpPorts ?? 99) + 1);
    const env = {
      CULVERT_DEMO: '0',
      CULVERT_PORT: String(ports.first),
      CULVERT_TCP_PORTS: `${ports.first + 1 + (options.tls ? 1 : 0)}-${ports.last}`,
      ...(options.tls ? { CULVERT_TLS: 'local', CULVERT_TLS_PORT: String(ports.first + 1) } : {}),
      ...options.env,
      CULVERT_STATE_DIR: stateDir,
    };
    try {
      return new Stack(await launch(env, stateDir), ports, stateDir, ownsDir, env);
    } catch (error) {
      ports.release();
      if (ownsDir) rmSync(stateDir, { recursive: true, force: true });
      throw error;
    }
  }

  /** `stack.json` as it stands now (process ids change), or as it was last while there is none. */
  get info(): StackInfo {
    this.readInfo();
    return this.#info;
  }

  /** `stack.json` as it stands now; undefined while there is none. */
  readInfo(): StackInfo | undefined {
    const info = readStackFile(this.stateDir);
    if (info !== undefined) this.#info = info;
    return info;
  }

  /** Process id of the stack's own process. */
  get pid(): number {
    return this.#child.pid as number;
  }

  /** The settings that it was started with. */
  get env(): Readonly<Record<string, string>> {
    return this.#env;
  }

  /** Stops the whole system and starts it again with the same settings and state. */
  async restart(): Promise<void> {
    await this.#halt('SIGTERM');
    const { child, info } = await launch(this.#env, this.stateDir);
    this.#child = child;
    this.#info = info;
  }

  /** Ends the agents, then the stack; resolves with its exit code. The state dir stays when it was given. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    for (const agent of this.#agents) await agent.kill();
    await this.#dispatcher?.destroy();
    const code = await this.#halt(signal);
    this.#ports.release();
    if (this.#ownsDir) rmSync(this.stateDir, { recursive: true, force: true });
    return code;
  }

  async #halt(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    const code = await exited;
    clearTimeout(late);
    return code;
  }

  /** One call of the REST API. */
  async admin(method: string, path: string, body?: unknown): Promise<{ status: number; body: never }> {
    const { admin, adminToken } = this.info;
    const answer = await fetch(new URL(path, admin), {
      method,
      ...this.#trust(),
      headers: { authorization: `Bearer ${adminToken}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      signal: AbortSignal.timeout(15_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.status, body: (await answer.json()) as never };
  }

  /** Certificate of the stack's own authority; undefined without TLS. */
  get ca(): string | undefined {
    const { ca } = this.info;
    return ca === null ? undefined : readFileSync(ca, 'utf8');
  }

  #trust(): { dispatcher?: Agent } {
    const { ca } = this;
    if (ca === undefined) return {};
    this.#dispatcher ??= new Agent({ connect: { ca } });
    return { dispatcher: this.#dispatcher };
  }

  /** One GET at the edge with this Host. */
  async fetchHost(host: string, path = '/'): Promise<{ status: number; body: string }> {
    const answer = await request(new URL(path, this.info.edge), {
      headers: { host },
      ...this.#trust(),
      headersTimeout: 30_000,
      bodyTimeout: 30_000,
    });
    return { status: answer.statusCode, body: await answer.body.text() };
  }

  /** The real command line, with this stack's state dir. */
  culvert(...args: string[]): Promise<CliOutput> {
    return runCli(['--state-dir', this.stateDir, ...args]);
  }

  /** Adds a device; resolves with its token. */
  async addDevice(name: string): Promise<string> {
    const { status, body } = await this.admin('POST', '/v1/devices', { name });
    if (status !== 201) throw new Error(`adding ${name}: ${status} ${JSON.stringify(body)}`);
    return (body as { token: string }).token;
  }

  /** Starts the agent's real command line; it need not become ready. */
  spawnAgent({ server = this.info.edge, ...options }: AgentOptions & { server?: string }): RunningAgent {
    const { ca } = this.info;
    const env = { ...(ca === null ? {} : { CULVERT_CA_FILE: ca }), ...options.env };
    const agent = new RunningAgent(server, { ...options, env });
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

interface Running {
  child: ChildProcess;
  info: StackInfo;
}

async function launch(env: Record<string, string>, stateDir: string): Promise<Running> {
  // That of a killed stack must not be taken for this one's.
  rmSync(join(stateDir, 'stack.json'), { force: true });
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
