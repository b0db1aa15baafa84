import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { freePort } from '../../harness/servers.ts';
import { waitForPort } from '../processes.ts';
import type { Driver, Path } from './driver.ts';

/** Path of a peer's program: of BENCH_PEERS_DIR first, then of PATH. */
function find(program: string): string | undefined {
  const folders = [process.env.BENCH_PEERS_DIR ?? '', ...(process.env.PATH ?? '').split(delimiter)];
  return folders.filter(Boolean).find((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const pathOf = (program: string): string => join(find(program) ?? '', program);

/** What `program <flag>` says, as `program 1.2.3`. */
function versionOf(program: string, flag: string): Promise<string> {
  return new Promise((resolve) => {
    execFile(pathOf(program), [flag], (_, stdout, stderr) => {
      const version = /[0-9]+\.[0-9]+\.[0-9]+[^\s]*/.exec(stdout + stderr);
      resolve(`${program} ${version?.[0] ?? 'of unknown version'}`);
    });
  });
}

export interface PeerPlan {
  name: string;
  /** Programs it needs, the first of which is asked for its version. */
  programs: readonly string[];
  versionFlag: string;
  /** The command lines of both ends, and the files they read. `control` and `visitors` are free ports. */
  plan(at: { control: number; visitors: number; origin: number; dir: string }): {
    files?: Record<string, string>;
    server: readonly string[];
    client: readonly string[];
    /** Where the server listens for the client, when it cannot be told. */
    control?: number;
  };
}

/** A tunnel of two programs, without TLS like the others here. */
export const peer = (plan: PeerPlan): Driver => ({
  name: plan.name,
  unavailable: async () => {
    const missing = plan.programs.filter((program) => find(program) === undefined);
    return missing.length === 0 ? undefined : `${missing.join(' and ')} not found on PATH or in BENCH_PEERS_DIR`;
  },
  start: (origin) => startPeer(plan, origin),
});

async function startPeer({ name, programs, versionFlag, plan }: PeerPlan, origin: number): Promise<Path> {
  const dir = await mkdtemp(join(tmpdir(), 'culvert-bench-peer-'));
  const at = { control: await freePort(), visitors: await freePort(), origin, dir };
  const { files = {}, server, client, control = at.control } = plan(at);
  for (const [file, text] of Object.entries(files)) await writeFile(join(dir, file), text);
  const children: ChildProcess[] = [];
  const run = ([program = '', ...args]: readonly string[]): number => {
    const child = spawn(pathOf(program), args, { stdio: 'ignore', cwd: dir });
    children.push(child);
    return child.pid as number;
  };
  const stop = async (): Promise<void> => {
    for (const child of children) child.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  };
  try {
    const listener = [run(server)];
    await waitForPort(control);
    const agent = [run(client)];
    await waitForPort(at.visitors);
    return { ports: [at.visitors], parts: { listener, agent }, version: await versionOf(programs[0] ?? name, versionFlag), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
