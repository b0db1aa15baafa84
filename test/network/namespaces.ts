import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { findProgram } from '../../deploy/local/bin/system.mjs';

const PREFIX = 'culvert';
const PROGRAMS = ['ip', 'nft', 'conntrack', 'nsenter', 'sysctl', 'python3'];

/** Runs a command to its end; its output. @throws an error that holds what it printed. */
export function run(command: string, args: readonly string[], input = ''): string {
  try {
    return execFileSync(findProgram(command) ?? command, args, { input, encoding: 'utf8', stdio: ['pipe', 'pipe', 'pipe'] });
  } catch (error) {
    throw new Error(`${command} ${args.join(' ')}: ${(error as { stderr?: string }).stderr ?? error}\n${input}`);
  }
}

/** Why no network namespaces can be made here; undefined when they can. */
export function whyNoNamespaces(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = PROGRAMS.filter((name) => findProgram(name) === undefined);
  if (missing.length > 0) return `needs ${missing.join(', ')}`;
  if (!existsSync('/dev/net/tun')) return 'needs /dev/net/tun';
  const name = `${PREFIX}-${process.pid}-0-try`;
  try {
    run('ip', ['netns', 'add', name]);
    run('ip', ['netns', 'del', name]);
    return undefined;
  } catch (error) {
    return `could not make a network namespace: ${(error as Error).message.split('\n')[0]}`;
  }
}

/** Our namespaces that exist: the process that made each, and the number of its network. */
function ours(): { name: string; pid: number; network: number }[] {
  return run('ip', ['netns', 'list'])
    .split('\n')
    .flatMap((line) => {
      const match = /^(culvert-([0-9]+)-([0-9]+)-[a-z]+)/.exec(line);
      return match === null ? [] : [{ name: match[1] ?? '', pid: Number(match[2]), network: Number(match[3]) }];
    });
}

/** Removes what crashed tests left behind: the names carry the pid of their maker. Whatever runs inside is killed. */
export function removeStale(): void {
  for (const { name, pid } of ours()) if (!existsSync(`/proc/${pid}`)) removeNamespace(name);
}

/** Kills what runs in it; its links and rules go with it. */
export function removeNamespace(name: string): void {
  try {
    for (const pid of run('ip', ['netns', 'pids', name]).split('\n').filter(Boolean)) process.kill(Number(pid), 'SIGKILL');
  } catch {
    // gone meanwhile
  }
  run('ip', ['netns', 'del', name]);
}

/** The end of a network's link that stands in this machine's own namespace. */
export const linkOf = (network: number): string => `culvert${network}`;

/** A number that no network on this machine has: it becomes part of addresses and names. */
export function freeNetwork(): number {
  const taken = new Set(ours().map(({ network }) => network));
  for (let number = 1 + (process.pid % 200); ; number = (number % 250) + 1) {
    // A removed namespace takes its links along a moment later.
    if (!taken.has(number) && !existsSync(`/sys/class/net/${linkOf(number)}`)) return number;
  }
}

/** A network namespace, with `lo` up. */
export class Namespace {
  readonly name: string;

  constructor(network: number, role: string) {
    this.name = `${PREFIX}-${process.pid}-${network}-${role}`;
    run('ip', ['netns', 'add', this.name]);
    run('ip', ['-n', this.name, 'link', 'set', 'lo', 'up']);
  }

  /** What is put before a command so that it runs inside. `nsenter` becomes that command: the pid is its own. */
  get prefix(): string[] {
    return ['nsenter', `--net=/run/netns/${this.name}`];
  }

  ip(...args: string[]): void {
    run('ip', ['-n', this.name, ...args]);
  }

  exec(command: string, args: readonly string[], input = ''): string {
    const [enter = '', ...rest] = this.prefix;
    return run(enter, [...rest, findProgram(command) ?? command, ...args], input);
  }

  /** One statement of nft. */
  nft(statement: string): void {
    this.exec('nft', ['-f', '-'], `${statement}\n`);
  }

  spawn(command: string, args: readonly string[], options: SpawnOptions): ReturnType<typeof spawn> {
    const [enter = '', ...rest] = this.prefix;
    return spawn(enter, [...rest, command, ...args], options);
  }

  remove(): void {
    if (existsSync(`/run/netns/${this.name}`)) removeNamespace(this.name);
  }
}
