import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ScriptServer } from '../../../test/conformance/device/server.ts';
import { NATIVE, runBeside } from '../test/build.ts';
import { replays } from '../test/replay.ts';
import type { Target } from './targets.ts';

const TLS_MS = 60_000;
const IDLE_MS = 20_000;
const FIXTURES = join(NATIVE, '../../libs/relay/test/fixtures');

/** What starts a program of this target here, beside its path. */
export const startOf = (target: Target, wine: string): string[] => [
  ...(target.system === 'Windows' ? ['env', `WINEPREFIX=${wine}`, 'WINEDEBUG=-all'] : []),
  ...(target.by ?? []),
];

/** Whether it gives what the golden vectors say, and its machines live through their lives. */
export async function replay(
  target: Target,
  dir: string,
  start: readonly string[],
): Promise<{ vectors: boolean; machines: boolean }> {
  const runIt = (name: string, input = ''): Promise<string> => {
    const [program = '', ...args] = [...start, join(dir, `${name}${target.system === 'Windows' ? '.exe' : ''}`)];
    return runBeside(program, args, { input, timeoutMs: 300_000 });
  };
  const cases = replays();
  const answers = (await runIt('replay', `${cases.map(({ line }) => line).join('\n')}\n`)).split(/\r?\n/);
  const vectors = cases.every(({ expected }, at) => answers[at] === expected);
  return { vectors, machines: (await runIt('machines')).startsWith('ok: ') };
}

/** A handshake over TLS that a server refuses as unavailable: the certificate was verified, and the answer read. */
export async function speaksTls(command: readonly string[]): Promise<boolean> {
  const read = (name: string): string => readFileSync(join(FIXTURES, name), 'utf8');
  const server = createServer({ key: read('key.pem'), cert: read('cert.pem') });
  server.on('upgrade', (_, socket) => socket.end('HTTP/1.1 503 No\r\nRetry-After: 20\r\nContent-Length: 0\r\n\r\n'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `https://localhost:${(server.address() as AddressInfo).port}`;
  const [program = '', ...args] = command;
  const options = ['--server', url, '--name', 'a', '--json', '--ca-file', join(FIXTURES, 'cert.pem'), '80'];
  const env = { ...process.env, CULVERT_TOKEN: 'token' };
  const child = spawn(program, [...args, ...options], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const late = setTimeout(() => child.kill('SIGKILL'), TLS_MS);
  let good = false;
  for await (const line of createInterface({ input: child.stdout })) {
    const event = JSON.parse(line) as { event: string; status?: number };
    if (event.event === 'connecting') continue;
    good = event.event === 'refused' && event.status === 503;
    break;
  }
  clearTimeout(late);
  child.kill('SIGKILL');
  server.closeAllConnections();
  server.close();
  return good;
}

/** Resident memory in KiB of an agent that is ready and has no visitors; only for programs that run without an emulator. */
export async function idleMemory(program: string): Promise<number> {
  const server = await ScriptServer.start();
  const options = ['--server', server.url, '--name', 'a', '--json', '80'];
  const child = spawn(program, options, { env: { CULVERT_TOKEN: 'token' }, stdio: ['ignore', 'pipe', 'ignore'] });
  const late = setTimeout(() => child.kill('SIGKILL'), IDLE_MS);
  try {
    await server.connected();
    for await (const line of createInterface({ input: child.stdout })) if (line.includes('"ready"')) break;
    await new Promise((resolve) => setTimeout(resolve, 1_500)); // it goes through its loop a few times
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]);
  } finally {
    clearTimeout(late);
    child.kill('SIGKILL');
    await server.stop();
  }
}
