import { spawn, spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { eventually } from '../harness/service.ts';

const START_MS = 120_000;

/** A Docker engine of our own. It stands in a network namespace: the machine's firewall and addresses stay as they are. */
export interface Engine {
  host: string;
  /** Put before a command that is to reach containers and published ports. */
  inside: readonly string[];
  stop(): Promise<void>;
}

function call(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

/** Starts dockerd with everything it keeps below a folder that goes with it. Needs root. */
export async function startEngine(): Promise<Engine> {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-engine-'));
  const namespace = `culvert-${process.pid}`;
  call('ip', 'netns', 'add', namespace);
  const inside = ['nsenter', `--net=/run/netns/${namespace}`];
  const host = `unix://${dir}/engine.sock`;
  const log = openSync(join(dir, 'log'), 'a');
  call('ip', '-n', namespace, 'link', 'set', 'lo', 'up');
  mkdirSync(join(dir, 'data'));
  const paths = ['--data-root', `${dir}/data`, '--exec-root', `${dir}/exec`, '--pidfile', `${dir}/pid`, '-H', host];
  const [command = '', ...args] = [...inside, findProgram('dockerd') ?? 'dockerd', ...paths];
  const daemon = spawn(command, args, { stdio: ['ignore', log, log] });
  closeSync(log);
  const exited = new Promise<void>((resolve) => daemon.once('exit', () => resolve()));
  const stop = async (): Promise<void> => {
    daemon.kill('SIGTERM');
    const late = setTimeout(() => daemon.kill('SIGKILL'), 60_000);
    await exited;
    clearTimeout(late);
    spawnSync('ip', ['netns', 'del', namespace]);
    rmSync(dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 500 });
  };
  try {
    await eventually(
      'the Docker engine answers',
      () => {
        if (daemon.exitCode !== null) throw new Error('dockerd has ended');
        return spawnSync('docker', ['-H', host, 'version'], { timeout: 20_000 }).status === 0;
      },
      START_MS,
    );
  } catch (error) {
    const said = readFileSync(join(dir, 'log'), 'utf8').slice(-2_000);
    await stop();
    throw new Error(`${(error as Error).message}\n${said}`, { cause: error });
  }
  return { host, inside, stop };
}
