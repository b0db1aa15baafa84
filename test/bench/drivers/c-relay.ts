import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Driver } from './driver.ts';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('../c/hop.c', import.meta.url));

interface Hop {
  pid: number;
  port: number;
  stop(): void;
}

/** Compiles the C relay and gives what starts one in front of a port; `remove` takes the program away. */
export async function compileHop(
  ...args: string[]
): Promise<{ hop(target: number): Promise<Hop>; version: string; remove(): Promise<void> }> {
  const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-c-'));
  const program = join(dir, 'hop');
  await run('gcc', ['-O3', '-Wall', '-Werror', '-o', program, SOURCE]);
  const { stdout } = await run('gcc', ['-dumpfullversion']);
  return {
    version: `gcc ${stdout.trim()} -O3`,
    hop: async (target) => {
      const child = spawn(program, [String(target), ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
      const port = await new Promise<number>((resolve) => child.stdout.once('data', (text: Buffer) => resolve(Number(text))));
      return { pid: child.pid as number, port, stop: () => child.stdin.end() };
    },
    remove: () => rm(dir, { recursive: true, force: true }),
  };
}

/** Why nothing can be compiled here. */
export const withoutGcc = (): Promise<string | undefined> =>
  run('gcc', ['--version']).then(
    () => undefined,
    () => 'gcc is not installed',
  );

const twoHops = (name: string, ...args: string[]): Driver => ({
  name,
  unavailable: withoutGcc,
  start: async (originPort) => {
    const { hop, version, remove } = await compileHop(...args);
    const far = await hop(originPort);
    const near = await hop(far.port);
    return {
      ports: [near.port],
      parts: { listener: [near.pid], agent: [far.pid] },
      version,
      stop: async () => {
        near.stop();
        far.stop();
        await remove();
      },
    };
  },
});

/** A C relay by read(2) and write(2), twice in a row: the yardstick that the goals are relative to. */
export const cRelay = twoHops('C read/write, two hops');

/** The same with the masks that RFC 6455 wants of a client, in direction D: the yardstick of transfers without TLS. */
export const cRelayMasked = twoHops('C read/write, masked', 'mask');
