import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const CLI = fileURLToPath(new URL('../../agent/cli/bin/culvert.mjs', import.meta.url));

/** `culvert forward` or `culvert socks` with --json, as a process. */
export class RunningAccess {
  readonly lines: Record<string, unknown>[] = [];
  readonly exited: Promise<number | null>;
  stderr = '';
  readonly #child: ChildProcess;

  constructor(args: readonly string[], env: Record<string, string> = {}) {
    this.#child = spawn(process.execPath, [CLI, ...args, '--json'], {
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.lines.push(JSON.parse(line) as Record<string, unknown>);
    });
    this.#child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
    this.exited = new Promise((resolve) => this.#child.once('exit', resolve));
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /** The local ports, once `count` of them listen. */
  async ports(count = 1): Promise<number[]> {
    const end = Date.now() + 20_000;
    for (;;) {
      const found = this.lines.filter(({ event }) => event === 'listening');
      if (found.length >= count) return found.map(({ address }) => Number(String(address).split(':').pop()));
      if (Date.now() > end || this.#child.exitCode !== null) throw new Error(`it does not listen: ${this.stderr}`);
      await new Promise((done) => setTimeout(done, 20));
    }
  }

  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null> {
    this.#child.kill('SIGTERM');
    return this.exited;
  }
}
