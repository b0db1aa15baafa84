import { execFile } from 'node:child_process';
import net from 'node:net';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Output {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a real client to its end; never throws for its exit code. */
export async function client(
  command: string,
  args: readonly string[],
  options: { timeoutMs?: number; input?: string } = {},
): Promise<Output> {
  const running = run(command, [...args], { timeout: options.timeoutMs ?? 60_000, maxBuffer: 64 << 20, encoding: 'latin1' });
  running.child.stdin?.on('error', () => {}).end(options.input ?? ''); // it may be over already
  try {
    return { code: 0, ...(await running) };
  } catch (error) {
    const failed = error as { code?: number | string; stdout?: string; stderr?: string };
    if (failed.code === 'ENOENT') throw error;
    return { code: Number(failed.code ?? -1), stdout: failed.stdout ?? '', stderr: failed.stderr ?? '' };
  }
}

/** curl to a host name that is resolved to the stack's edge. */
export function curl(edge: string, host: string, path: string, ...args: string[]): Promise<Output> {
  const { port, protocol } = new URL(edge);
  return client(
    'curl',
    ['-sS', '--max-time', '120', '--resolve', `${host}:${port}:127.0.0.1`, ...args, `${protocol}//${host}:${port}${path}`],
    { timeoutMs: 130_000 },
  );
}

/** Everything a TCP visitor got until the other side ended or broke. */
export interface Got {
  data: Buffer;
  ended: boolean;
  error: string | undefined;
}

/** Connects, sends, ends unless told to keep open, and collects until the connection is closed or the deadline is over. */
export function tcpVisitor(
  port: number,
  send: Buffer | string,
  options: { host?: string; end?: boolean; deadlineMs?: number } = {},
): Promise<Got> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const got: Got = { data: Buffer.alloc(0), ended: false, error: undefined };
    const socket = net.connect({ port, host: options.host ?? '127.0.0.1', allowHalfOpen: true });
    const late = setTimeout(() => {
      got.error = 'deadline';
      socket.destroy();
    }, options.deadlineMs ?? 15_000);
    socket.write(send);
    if (options.end !== false) socket.end();
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('end', () => {
      got.ended = true;
      socket.end();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      got.error = error.code;
    });
    socket.on('close', () => {
      clearTimeout(late);
      got.data = Buffer.concat(chunks);
      resolve(got);
    });
  });
}

/** Polls until the probe answers something other than undefined; the deadline is a failure that says what was waited for. */
export async function until<T>(
  what: string,
  probe: () => Promise<T | undefined> | T | undefined,
  deadlineMs = 15_000,
): Promise<T> {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > end) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
