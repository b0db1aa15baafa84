import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Endpoint } from '@culvert/contracts';

const CLI = fileURLToPath(new URL('../../agent/cli/bin/culvert.mjs', import.meta.url));

const CULVERT_AGENT = [process.execPath, CLI, 'agent'];

export interface CliOutput {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the command line to its end. */
export function runCli(args: readonly string[], env: Record<string, string> = {}): Promise<CliOutput> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [CLI, ...args],
      { timeout: 30_000, env: { PATH: process.env.PATH, ...env } },
      (error, stdout, stderr) => {
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), stdout, stderr });
      },
    );
  });
}

export interface AgentOptions {
  name: string;
  token: string;
  mappings: readonly string[];
  /** More options of the command line. */
  args?: readonly string[];
  env?: Record<string, string>;
  /** Put before the command: a program that becomes it, such as nsenter. */
  prefix?: readonly string[];
  /** Another agent with the same options. Default: `culvert agent`. */
  program?: readonly string[];
}

export interface AgentEvent extends Record<string, unknown> {
  event: string;
}

export type ShownEndpoint = Endpoint & { url?: string };

/** `culvert agent --json` as a process. */
export class RunningAgent {
  readonly events: AgentEvent[] = [];
  readonly #child: ChildProcess;
  readonly #exited: Promise<number | null>;
  #stderr = '';
  #wake: () => void = () => {};
  #taken = 0;

  constructor(
    server: string,
    { name, token, mappings, args = [], env = {}, prefix = [], program = CULVERT_AGENT }: AgentOptions,
  ) {
    const line = [...prefix, ...program, '--server', server, '--name', name, '--json', ...args, ...mappings];
    this.#child = spawn(line[0] as string, line.slice(1), {
      env: { PATH: process.env.PATH, ...(token === '' ? {} : { CULVERT_TOKEN: token }), ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.events.push(JSON.parse(line) as AgentEvent);
      this.#wake();
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr = (this.#stderr + chunk.toString()).slice(-4_000);
    });
    this.#exited = new Promise((resolve) => this.#child.once('exit', resolve));
    void this.#exited.then(() => this.#wake());
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The next event of that kind that no earlier call has returned. */
  async event(kind: string, deadlineMs = 15_000): Promise<AgentEvent> {
    const end = Date.now() + deadlineMs;
    for (;;) {
      while (this.#taken < this.events.length) {
        const event = this.events[this.#taken++] as AgentEvent;
        if (event.event === kind) return event;
      }
      const left = end - Date.now();
      if (left <= 0 || this.#child.exitCode !== null) {
        throw new Error(`the agent did not say ${kind}; it said ${JSON.stringify(this.events.slice(-5))} ${this.#stderr}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** The newest `ready`. */
  get ready(): AgentEvent & { epoch: number; resumed: boolean; endpoints: ShownEndpoint[] } {
    const ready = this.events.findLast(({ event }) => event === 'ready');
    if (ready === undefined) throw new Error('the agent is not ready');
    return ready as AgentEvent & { epoch: number; resumed: boolean; endpoints: ShownEndpoint[] };
  }

  readyCount(): number {
    return this.events.filter(({ event }) => event === 'ready').length;
  }

  endpoints(): ShownEndpoint[] {
    return this.ready.endpoints;
  }

  endpoint(port: number): ShownEndpoint {
    const endpoint = this.ready.endpoints.find((one) => one.port === port);
    if (endpoint === undefined) throw new Error(`the agent offers no port ${port}`);
    return endpoint;
  }

  /** SIGTERM: a clean stop with a bye. Resolves with the exit code. */
  async stop(): Promise<number | null> {
    this.#child.kill('SIGCONT');
    this.#child.kill('SIGTERM');
    return this.#exited;
  }

  /** SIGKILL: a device that vanishes. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  /** SIGSTOP and SIGCONT: a device that is frozen while its sockets stay open. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }
}
