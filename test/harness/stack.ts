import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Client, type Dispatcher } from 'undici';

const ROOT = join(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'deploy/local/src/main.ts');
const CLI = join(ROOT, 'agent/cli/bin/culvert.mjs');

const START_MS = 60_000;
const STOP_MS = 25_000;

/** `<state dir>/stack.json`. */
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

/** An endpoint as the CLI prints it. */
export interface PrintedEndpoint {
  port: number;
  scheme: string;
  url?: string;
  host?: string;
  public_port?: number;
}

/** One line of `culvert agent --json`. */
export type AgentEvent = {
  event: string;
  code?: string;
  epoch?: number;
  resumed?: boolean;
  endpoints?: PrintedEndpoint[];
} & Record<string, unknown>;

export interface RunningAgent {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Everything it has printed so far. */
  readonly events: readonly AgentEvent[];
  /** The next event of that name that was not returned before; fails after `timeoutMs` (default 15 s). */
  next(event: string, timeoutMs?: number): Promise<AgentEvent>;
  /** SIGTERM, or the given signal; settles when it is gone. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface HostAnswer {
  status: number;
  headers: Dispatcher.ResponseData['headers'];
  body: string;
}

export interface RunningStack {
  /** stack.json as it stands now: pids change when something is restarted. */
  readonly info: StackInfo;
  readonly stateDir: string;
  /** CULVERT_TCP_PORTS. */
  readonly tcpPorts: string;
  /** Pid of the stack process itself. */
  readonly pid: number;
  readonly process: ChildProcess;
  /** What it has printed so far. */
  output(): string;
  /** Registers a device and writes its token to a file. */
  addDevice(name: string): Promise<{ token: string; tokenFile: string }>;
  /** One call of the REST API; the decoded answer. */
  admin(method: string, path: string, body?: unknown): Promise<{ status: number; body: never }>;
  /** `culvert agent --json` as a process; registers the device unless `tokenFile` is given. */
  runAgent(
    name: string,
    mappings: string[],
    options?: { tokenFile?: string; servers?: string[]; args?: string[] },
  ): Promise<RunningAgent>;
  /** One request to the edge with this Host. */
  fetchHost(
    host: string,
    path?: string,
    options?: { method?: string; headers?: Record<string, string>; body?: string },
  ): Promise<HostAnswer>;
  /** SIGTERM; settles when the process is gone. The state folder stays when it was given, or with `keep`. */
  stop(options?: { keep?: boolean }): Promise<number | null>;
}

/** Free ports are looked for from here on; below the range from which systems take ports of outgoing connections. */
const FIRST_PORT = 21_000;
const LAST_PORT = 32_000;
/** One edge port and the public ports of one stack. */
const BLOCK = 100;

async function isFree(port: number): Promise<boolean> {
  for (const host of ['0.0.0.0', '::']) {
    const server = createServer();
    const code = await new Promise<string | undefined>((resolve) => {
      server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      server.listen({ host, port, exclusive: true, ipv6Only: host === '::' }, () => resolve(undefined));
    });
    await new Promise((done) => server.close(done));
    if (code !== undefined && code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') return false;
  }
  return true;
}

/**
 * A block of ports for one stack: the first for the edge, the others public. Reserved by a file, so that test files that run
 * at the same time never share one.
 */
async function reserveBlock(): Promise<{ port: number; tcpPorts: string; release(): void }> {
  const offset = process.pid % ((LAST_PORT - FIRST_PORT) / BLOCK);
  for (let tried = 0; tried < (LAST_PORT - FIRST_PORT) / BLOCK; tried += 1) {
    const first = FIRST_PORT + (((offset + tried) * BLOCK) % (LAST_PORT - FIRST_PORT));
    const file = join(tmpdir(), `culvert-ports-${first}`);
    if (!reserve(file) || !(await isFree(first))) continue;
    return { port: first, tcpPorts: `${first + 1}-${first + BLOCK - 1}`, release: () => rmSync(file, { force: true }) };
  }
  throw new Error('no free block of ports');
}

function reserve(file: string): boolean {
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
    return true;
  } catch {
    const owner = Number(existsSync(file) ? readFileSync(file, 'utf8') : 0);
    if (owner === process.pid || (owner > 0 && existsSync(`/proc/${owner}`))) return false;
    rmSync(file, { force: true }); // its owner is gone
    return reserve(file);
  }
}

const within = <T>(promise: Promise<T>, ms: number, what: () => string): Promise<T> => {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(what())), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/**
 * Runs the real local stack with a state folder and ports of its own and settles once it is ready. Of `env` every CULVERT_
 * variable counts; without CULVERT_DEMO there is no demo device, and heartbeats are 2 s apart.
 */
export async function startStack(env: Record<string, string> = {}): Promise<RunningStack> {
  const ownDir = env.CULVERT_STATE_DIR === undefined;
  const stateDir = env.CULVERT_STATE_DIR ?? mkdtempSync(join(tmpdir(), 'culvert-stack-'));
  const block = await reserveBlock();
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CULVERT_')));
  const settings = {
    CULVERT_PORT: String(block.port),
    CULVERT_TCP_PORTS: block.tcpPorts,
    CULVERT_DEMO: '0',
    CULVERT_HEARTBEAT: '2s',
    ...env,
    CULVERT_STATE_DIR: stateDir,
  };
  // That of a killed stack must not be taken for this one's.
  rmSync(join(stateDir, 'stack.json'), { force: true });
  const child = spawn(process.execPath, [MAIN], {
    env: { ...clean, ...settings },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let printed = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      printed = (printed + chunk.toString()).slice(-20_000);
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const stackFile = join(stateDir, 'stack.json');
  const readInfo = (): StackInfo => JSON.parse(readFileSync(stackFile, 'utf8')) as StackInfo;
  const agents = new Set<RunningAgent>();
  const cleanUp = (keep: boolean): void => {
    block.release();
    if (ownDir && !keep) rmSync(stateDir, { recursive: true, force: true });
  };

  const until = Date.now() + START_MS;
  while (!existsSync(stackFile)) {
    const ended = child.exitCode !== null || child.signalCode !== null;
    if (ended || Date.now() > until) {
      child.kill('SIGTERM');
      await within(exited, STOP_MS, () => 'the stack does not stop').catch(() => child.kill('SIGKILL'));
      cleanUp(false);
      throw new Error(`the stack ${ended ? `ended with ${child.exitCode}` : `is not ready after ${START_MS} ms`}:\n${printed}`);
    }
    await new Promise((done) => setTimeout(done, 50));
  }

  const admin: RunningStack['admin'] = async (method, path, body) => {
    const { admin: url, adminToken } = readInfo();
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${adminToken}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      signal: AbortSignal.timeout(15_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, body: (await response.json()) as never };
  };
  const addDevice: RunningStack['addDevice'] = async (name) => {
    const { status, body } = await admin('POST', '/v1/devices', { name });
    if (status !== 201) throw new Error(`device ${name} cannot be added: ${status} ${JSON.stringify(body)}`);
    const { token } = body as { token: string };
    const tokenFile = join(stateDir, `${name}.token`);
    writeFileSync(tokenFile, `${token}\n`, { mode: 0o600 });
    return { token, tokenFile };
  };

  return {
    get info() {
      return readInfo();
    },
    stateDir,
    tcpPorts: settings.CULVERT_TCP_PORTS,
    pid: child.pid ?? 0,
    process: child,
    output: () => printed,
    admin,
    addDevice,
    runAgent: async (name, mappings, options = {}) => {
      const tokenFile = options.tokenFile ?? (await addDevice(name)).tokenFile;
      const servers = (options.servers ?? [readInfo().edge]).flatMap((server) => ['--server', server]);
      const args = [
        'agent',
        ...servers,
        '--name',
        name,
        '--token-file',
        tokenFile,
        '--json',
        ...(options.args ?? []),
        ...mappings,
      ];
      const agent = startAgent(args, join(stateDir, `agent-${name}.err`));
      agents.add(agent);
      return agent;
    },
    fetchHost: async (host, path = '/', options = {}) => {
      const client = new Client(readInfo().edge);
      try {
        const answer = await client.request({
          path,
          method: (options.method ?? 'GET') as Dispatcher.HttpMethod,
          headers: { host, ...options.headers },
          body: options.body ?? null,
          headersTimeout: 30_000,
          bodyTimeout: 30_000,
        });
        return { status: answer.statusCode, headers: answer.headers, body: await answer.body.text() };
      } finally {
        await client.close();
      }
    },
    stop: async ({ keep = false } = {}) => {
      await Promise.all([...agents].map((agent) => agent.stop()));
      if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
      const code = await within(exited, STOP_MS, () => `the stack does not stop:\n${printed}`);
      cleanUp(keep);
      return code;
    },
  };
}

function startAgent(args: string[], errors: string): RunningAgent {
  const clean = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CULVERT_')));
  const child = spawn(process.execPath, [CLI, ...args], { env: clean, stdio: ['ignore', 'pipe', openSync(errors, 'a')] });
  const events: AgentEvent[] = [];
  const waiting = new Set<() => void>();
  const seen = new Map<string, number>();
  const tell = (): void => {
    for (const wake of waiting) wake();
  };
  if (child.stdout !== null) {
    createInterface({ input: child.stdout }).on('line', (line) => {
      events.push(JSON.parse(line) as AgentEvent);
      tell();
    });
  }
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void exited.then(tell);
  const said = (): string => `${events.map((event) => JSON.stringify(event)).join('\n')}\n${readFileSync(errors, 'utf8')}`;

  return {
    pid: child.pid ?? 0,
    process: child,
    events,
    next: async (name, timeoutMs = 15_000) => {
      const until = Date.now() + timeoutMs;
      for (;;) {
        const from = seen.get(name) ?? 0;
        const index = events.findIndex(({ event }, at) => at >= from && event === name);
        const found = events[index];
        if (found !== undefined) {
          seen.set(name, index + 1);
          return found;
        }
        if (child.exitCode !== null) throw new Error(`the agent ended with ${child.exitCode} before "${name}":\n${said()}`);
        if (Date.now() > until) throw new Error(`the agent said no "${name}" within ${timeoutMs} ms:\n${said()}`);
        await new Promise<void>((wake) => {
          const timer = setTimeout(resume, Math.max(1, until - Date.now()));
          function resume(): void {
            clearTimeout(timer);
            waiting.delete(resume);
            wake();
          }
          waiting.add(resume);
        });
      }
    },
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) child.kill(signal);
      await within(exited, 15_000, () => 'the agent does not stop').catch((error) => {
        child.kill('SIGKILL');
        throw error;
      });
    },
  };
}
