import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Redis } from 'ioredis';

/** A real service process: `services/<name>/src/main.ts`. */
export interface ServiceProcess {
  readonly id: string;
  readonly pid: number;
  /** Base of its health server, without a path. */
  readonly health: string;
  /** What it printed so far, newest last, at most 200 KB. */
  output(): string;
  /** Signals it and waits for its exit; answers the exit code, or null when a signal ended it. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  signal(signal: NodeJS.Signals): void;
}

const READY_MS = 20_000;
const OUTPUT_MAX = 200_000;

/** The lease-manager's part: this start of an instance is taken for gone. It finds out at its next renewal. */
export async function declareGone(redis: Redis, id: string): Promise<void> {
  const { incarnation } = JSON.parse((await redis.get(`instance:${id}`)) ?? '{}') as { incarnation: string };
  await redis.set(`instance:gone:${id}`, incarnation);
}

/** Starts it and waits until it says that it is ready. Its stop is the caller's to await. */
export async function startService(name: string, id: string, env: Record<string, string>): Promise<ServiceProcess> {
  const child: ChildProcess = fork(fileURLToPath(new URL(`../../services/${name}/src/main.ts`, import.meta.url)), [], {
    env: { PATH: process.env.PATH, CULVERT_INSTANCE_ID: id, ...env },
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-OUTPUT_MAX);
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  const health = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`${id} is not ready after ${READY_MS} ms:\n${output}`));
    }, READY_MS);
    child.on('message', (message: { ready?: boolean; health?: string }) => {
      if (message.ready !== true) return;
      clearTimeout(late);
      resolve(message.health ?? '');
    });
    void exited.then((code) => {
      clearTimeout(late);
      reject(new Error(`${id} exited with ${code}:\n${output}`));
    });
  });
  return {
    id,
    pid: child.pid as number,
    health: health.replace('/healthz', ''),
    output: () => output,
    signal: (signal) => void child.kill(signal),
    stop: async (signal = 'SIGTERM') => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGCONT');
        child.kill(signal);
      }
      return exited;
    },
  };
}

/** The value of one metric (labels as they stand in the text, e.g. `outcome="ok"`); 0 when it is absent. */
export async function metricOf(service: ServiceProcess, name: string, label = ''): Promise<number> {
  const text = await (await fetch(`${service.health}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name}{`) && one.includes(label));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

/** Tries until `check` answers something other than undefined or false; fails after `ms` with what it was waiting for. */
export async function eventually<T>(
  what: string,
  check: () => Promise<T | undefined | false> | T | undefined | false,
  ms = 10_000,
): Promise<T> {
  const until = Date.now() + ms;
  for (;;) {
    const value = await check();
    if (value !== undefined && value !== false) return value as T;
    if (Date.now() > until) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}
