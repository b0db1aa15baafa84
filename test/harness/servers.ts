import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../deploy/local/bin/system.mjs';

/** A real server process of a test, on a free loopback port, in a private directory. */
export interface ServerProcess {
  /** `redis://127.0.0.1:port` or `nats://127.0.0.1:port`; stays the same over restarts. */
  readonly url: string;
  readonly port: number;
  readonly dir: string;
  /** Process id of the running server; undefined while it is down. */
  readonly pid: number | undefined;
  /** SIGTERM; removes the directory if the starter made it. Twice is safe. */
  stop(): Promise<void>;
  /** SIGKILL; the directory stays, so that `start()` brings the same server back. */
  kill(): Promise<void>;
  /** Starts it again on the same port and directory after `kill()`. */
  start(): Promise<void>;
  /** SIGSTOP and SIGCONT. */
  pause(): void;
  resume(): void;
}

export interface ServerOptions {
  /** Where it keeps its data; the default is a new directory under the system's temporary one, removed by `stop()`. */
  dir?: string;
  /** The default is a free port. */
  port?: number;
  /** How long a start may take, with much data to be loaded. Default: 10 s. */
  readyMs?: number;
}

const READY_MS = 10_000;

/** redis-server with an append-only file, so that a kill loses nothing that was acknowledged. */
export function startRedis(options: ServerOptions = {}): Promise<ServerProcess> {
  return startServer('redis', options, (port, dir) => ({
    command: findProgram('redis-server') ?? 'redis-server',
    args: [
      ...['--port', String(port), '--bind', '127.0.0.1', '--dir', dir, '--save', '', '--daemonize', 'no'],
      ...['--appendonly', 'yes', '--appendfsync', 'everysec'],
    ],
    greeting: 'PING\r\n',
    expected: '+PONG',
  }));
}

/** nats-server with JetStream in `dir`, without users. */
export function startNats(options: ServerOptions = {}): Promise<ServerProcess> {
  return startServer('nats', options, (port, dir) => {
    const config = join(dir, 'nats.conf');
    writeFileSync(config, `host: 127.0.0.1\nport: ${port}\njetstream { store_dir: ${JSON.stringify(join(dir, 'jetstream'))} }\n`);
    return { command: findProgram('nats-server') ?? 'nats-server', args: ['-c', config], greeting: '', expected: 'INFO' };
  });
}

interface Plan {
  command: string;
  args: string[];
  /** Sent to the port; the server is ready once the answer starts with `expected`. */
  greeting: string;
  expected: string;
}

async function startServer(
  scheme: 'redis' | 'nats',
  options: ServerOptions,
  plan: (port: number, dir: string) => Plan,
): Promise<ServerProcess> {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), `culvert-${scheme}-`));
  const port = options.port ?? (await freePort());
  const { command, args, greeting, expected } = plan(port, dir);
  let child: ChildProcess | undefined;

  const start = async (): Promise<void> => {
    const started = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    let output = '';
    for (const stream of [started.stdout, started.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-4_000);
      });
    }
    let failed: Error | undefined;
    started.once('error', (error) => {
      failed = error;
    });
    const readyMs = options.readyMs ?? READY_MS;
    const until = Date.now() + readyMs;
    while (!(await answers(port, greeting, expected))) {
      if (failed !== undefined) throw new Error(`${command} cannot be started: ${failed.message}`, { cause: failed });
      if (started.exitCode !== null) throw new Error(`${command} exited with ${started.exitCode}:\n${output}`);
      if (Date.now() > until) throw new Error(`${command} is not ready after ${readyMs} ms:\n${output}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    const ended = child;
    child = undefined;
    if (ended === undefined || ended.exitCode !== null || ended.signalCode !== null) return;
    const exited = new Promise((done) => ended.once('exit', done));
    ended.kill('SIGCONT');
    ended.kill(signal);
    const late = setTimeout(() => ended.kill('SIGKILL'), 3_000);
    await exited;
    clearTimeout(late);
  };

  await start();
  return {
    url: `${scheme}://127.0.0.1:${port}`,
    port,
    dir,
    get pid() {
      return child?.pid;
    },
    stop: async () => {
      await end('SIGTERM');
      if (options.dir === undefined && existsSync(dir)) rmSync(dir, { recursive: true, force: true });
    },
    kill: () => end('SIGKILL'),
    start,
    pause: () => void child?.kill('SIGSTOP'),
    resume: () => void child?.kill('SIGCONT'),
  };
}

/** A loopback port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, resolve);
  });
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (address === null || typeof address === 'string') throw new Error('no port was bound');
  return address.port;
}

function answers(port: number, greeting: string, expected: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host: '127.0.0.1', port });
    const settle = (well: boolean): void => {
      socket.destroy();
      resolve(well);
    };
    socket.setTimeout(500, () => settle(false));
    socket.once('error', () => settle(false));
    socket.once('connect', () => {
      if (greeting !== '') socket.write(greeting);
    });
    socket.once('data', (chunk) => settle(chunk.toString().startsWith(expected)));
  });
}
