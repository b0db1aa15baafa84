import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Driver } from './driver.ts';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('../c/hop.c', import.meta.url));

/** A C relay by read(2) and write(2), twice in a row: the yardstick that the goals are relative to. */
export const cRelay: Driver = {
  name: 'C read/write, two hops',
  unavailable: () =>
    run('gcc', ['--version']).then(
      () => undefined,
      () => 'gcc is not installed',
    ),
  start: async (originPort) => {
    const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-c-'));
    const program = join(dir, 'hop');
    await run('gcc', ['-O2', '-Wall', '-Werror', '-o', program, SOURCE]);
    const hop = async (target: number): Promise<{ pid: number; port: number; stop: () => void }> => {
      const child = spawn(program, [String(target)], { stdio: ['pipe', 'pipe', 'inherit'] });
      const port = await new Promise<number>((resolve) => child.stdout.once('data', (text: Buffer) => resolve(Number(text))));
      return { pid: child.pid as number, port, stop: () => child.stdin.end() };
    };
    const far = await hop(originPort);
    const near = await hop(far.port);
    const { stdout } = await run('gcc', ['-dumpfullversion']);
    return {
      ports: [near.port],
      parts: { listener: [near.pid], agent: [far.pid] },
      version: `gcc ${stdout.trim()} -O2`,
      stop: async () => {
        near.stop();
        far.stop();
        await rm(dir, { recursive: true, force: true });
      },
    };
  },
};
