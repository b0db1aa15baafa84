import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';
import { echo, serve, target, until } from '../../sdk/test/kit.ts';
import { KEY, type Scene } from '../../sdk/test/past-edge.ts';
import type { TestServer } from '../../sdk/test/server.ts';

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

/** One named alice, without warm transfers. */
export function alice(program: string, server: { url: string }, args: string[], env: Record<string, string> = {}): NativeAgent {
  return new NativeAgent(program, ['--server', server.url, '--name', 'alice', '--json', '--warm', '0', ...args], env);
}

/** An agent that offers tcp:7, its server, and a listener that is published beside it, at `url` if it is given. */
export async function pastEdge(
  program: string,
  how: { url?: (listener: TestServer) => string; tls?: { key: string; cert: string }; args?: string[] } = {},
): Promise<Scene & { agent: NativeAgent }> {
  const tls = how.tls === undefined ? {} : { tls: how.tls };
  const listener = await serve({ token: KEY, ...tls });
  const url = how.url?.(listener) ?? listener.url.replace('http', 'ws');
  const server = await serve({ direct: { url, key: KEY }, ...tls });
  const agent = alice(program, server, [`tcp:7=127.0.0.1:${await target(echo)}`, ...(how.args ?? [])]);
  const control = await server.control(0);
  await agent.event('ready');
  return { server, listener, control, agent };
}
