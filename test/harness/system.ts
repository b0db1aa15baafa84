import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CliOutput, runCli } from './agent.ts';
import { type Part, System, type SystemInfo } from './client.ts';
import { type PortBlock, reservePorts } from './port-blocks.ts';

export type { RunningAgent } from './agent.ts';
export type { CulvertEventLike, EventReader } from './client.ts';

/** `stack.json`, as others read it. */
export interface StackInfo extends SystemInfo {
  ca: string | null;
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
  /** Folder of another version that is to run. Default: this one. */
  root?: string;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const READY_MS = 90_000;
const RESTART_MS = 240_000;
const STOP_MS = 30_000;

/** The whole system, as `npm start` runs it, on free ports and with a state dir of its own. */
export class Stack extends System {
  readonly stateDir: string;
  readonly #root: string;
  readonly #env: Record<string, string>;
  readonly #ownsDir: boolean;
  readonly #ports: PortBlock;
  #child: ChildProcess;
  #info: StackInfo;

  private constructor(
    running: Running,
    root: string,
    ports: PortBlock,
    stateDir: string,
    ownsDir: boolean,
    env: Record<string, string>,
  ) {
    super();
    this.#root = root;
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
      const root = options.root ?? ROOT;
      return new Stack(await launch(root, env, stateDir), root, ports, stateDir, ownsDir, env);
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

  /** Stops the whole system and starts it again with the same settings and state, or with what `meanwhile` makes of that. */
  async restart(meanwhile: () => Promise<void> | void = () => {}): Promise<void> {
    await this.#halt('SIGTERM');
    await meanwhile();
    const { child, info } = await launch(this.#root, this.#env, this.stateDir);
    this.#child = child;
    this.#info = info;
  }

  /** Ends the agents, then the stack; resolves with its exit code. The state dir stays when it was given. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    await this.endClients();
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

  get ca(): string | undefined {
    const { caFile } = this;
    return caFile === undefined ? undefined : readFileSync(caFile, 'utf8');
  }

  protected get caFile(): string | undefined {
    return this.info.ca ?? undefined;
  }

  async restartPart(part: Part, signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const before = this.#pidOf(part);
    process.kill(before, signal);
    const until = Date.now() + RESTART_MS;
    // The supervisor starts it again, and writes stack.json once everything is ready.
    while (this.#pidOf(part) === before) {
      if (Date.now() > until) throw new Error(`${part} is not back after ${RESTART_MS} ms`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  #pidOf(part: Part): number {
    const { services, redis, natsServer, nginx } = this.info;
    if (part === 'redis') return redis.pid;
    if (part === 'nats') return natsServer.pid;
    return part === 'edge' ? nginx.pid : (services.find(({ name }) => name === part)?.pid ?? 0);
  }

  /** The real command line, with this stack's state dir. */
  culvert(...args: string[]): Promise<CliOutput> {
    return runCli(['--state-dir', this.stateDir, ...args]);
  }
}

export const startStack = (options: StackOptions = {}): Promise<Stack> => Stack.start(options);

interface Running {
  child: ChildProcess;
  info: StackInfo;
}

async function launch(root: string, env: Record<string, string>, stateDir: string): Promise<Running> {
  // That of a killed stack must not be taken for this one's.
  rmSync(join(stateDir, 'stack.json'), { force: true });
  const child = fork(join(root, 'deploy/local/src/main.ts'), [], {
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
