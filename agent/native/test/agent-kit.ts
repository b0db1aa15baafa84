import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { until } from '../../sdk/test/kit.ts';

export interface Line extends Record<string, unknown> {
  event: string;
}

/** A `culvert-agent --json` that ends with the test. */
export class NativeAgent {
  readonly child: ChildProcess;
  readonly lines: Line[] = [];
  stderr = '';

  constructor(program: string, args: readonly string[], env: Record<string, string> = {}) {
    this.child = spawn(program, args, { env: { PATH: process.env.PATH ?? '', CULVERT_TOKEN: 'device-token', ...env } });
    if (this.child.stdout !== null) {
      createInterface({ input: this.child.stdout }).on('line', (line) => this.lines.push(JSON.parse(line) as Line));
    }
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.stderr += chunk.toString();
    });
    onTestFinished(() => {
      this.child.kill('SIGKILL');
    });
  }

  /** The nth event of a kind, waited for. */
  async event(kind: string, index = 0): Promise<Line> {
    return until(`event ${kind} number ${index} among ${JSON.stringify(this.lines)} ${this.stderr}`, () => {
      return this.lines.filter(({ event }) => event === kind)[index];
    });
  }

  /** The exit code after a signal. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    const exited = new Promise<number | null>((resolve) => this.child.once('exit', resolve));
    this.child.kill(signal);
    return exited;
  }

  /** Resident memory in KiB. */
  get pid(): number {
    return this.child.pid as number;
  }
}
