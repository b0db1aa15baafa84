import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { freePort } from './servers.ts';
import { eventually } from './service.ts';

const run = promisify(execFile);

/** What the sentinels call the primary. */
const NAME = 'culvert';
/** A primary that is silent for this long is down: the failover begins. */
const DOWN_AFTER_MS = 1_000;

/** One redis-server of the set, or one sentinel. */
export class Member {
  readonly port: number;
  readonly #config: string;
  readonly #args: string[];
  #child: ChildProcess | undefined;

  constructor(port: number, config: string, ...args: string[]) {
    this.port = port;
    this.#config = config;
    this.#args = args;
  }

  async start(): Promise<void> {
    this.#child = spawn('redis-server', [this.#config, ...this.#args], { stdio: 'ignore' });
    await eventually(`the server on port ${this.port}`, async () => (await this.ask('PING').catch(() => '')) === 'PONG');
  }

  /** One command by redis-cli; its answer as text. */
  async ask(...command: string[]): Promise<string> {
    const { stdout } = await run('redis-cli', ['-p', String(this.port), ...command], { timeout: 2_000 });
    return stdout.trim();
  }

  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child?.kill(signal);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await exited;
  }
}

/** A primary with replicas, watched by three sentinels, all real processes on loopback. */
export class SentinelSet {
  /** As CULVERT_REDIS_URL takes it. */
  readonly url: string;
  readonly members: readonly Member[];
  readonly #sentinels: readonly Member[];
  readonly #dir: string;

  private constructor(dir: string, members: Member[], sentinels: Member[]) {
    this.#dir = dir;
    this.members = members;
    this.#sentinels = sentinels;
    this.url = `redis+sentinel://${sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${NAME}`;
  }

  /** Every primary takes writes only while a replica follows it: `min-replicas-to-write 1`. */
  static async start(replicas: number): Promise<SentinelSet> {
    const dir = mkdtempSync(join(tmpdir(), 'culvert-sentinel-'));
    const member = async (name: string, lines: (port: number) => string[], ...args: string[]): Promise<Member> => {
      const port = await freePort();
      const folder = join(dir, name);
      mkdirSync(folder);
      const config = join(folder, 'redis.conf');
      writeFileSync(config, `${[`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`, ...lines(port)].join('\n')}\n`);
      return new Member(port, config, ...args);
    };
    const data = [
      ...['appendonly yes', 'appendfsync everysec', 'save ""', 'repl-diskless-sync-delay 0', 'repl-ping-replica-period 1'],
      ...['min-replicas-to-write 1', 'min-replicas-max-lag 2'],
    ];
    const primary = await member('redis-0', () => data);
    const members = [primary];
    for (let at = 1; at <= replicas; at += 1) {
      members.push(await member(`redis-${at}`, () => [...data, `replicaof 127.0.0.1 ${primary.port}`]));
    }
    const watch = [
      `sentinel monitor ${NAME} 127.0.0.1 ${primary.port} 2`,
      `sentinel down-after-milliseconds ${NAME} ${DOWN_AFTER_MS}`,
      `sentinel failover-timeout ${NAME} 5000`,
    ];
    const sentinels: Member[] = [];
    for (let at = 0; at < 3; at += 1) sentinels.push(await member(`sentinel-${at}`, () => watch, '--sentinel'));
    const set = new SentinelSet(dir, members, sentinels);
    try {
      await Promise.all(members.map((one) => one.start()));
      await eventually('the replicas follow', async () =>
        (await primary.ask('INFO', 'replication')).includes(`connected_slaves:${replicas}`),
      );
      await Promise.all(sentinels.map((one) => one.start()));
      await eventually('the sentinels know each other and every replica', async () => {
        const known = await Promise.all(sentinels.map((one) => one.ask('SENTINEL', 'MASTER', NAME)));
        return known.every(
          (text) => fieldOf(text, 'num-other-sentinels') === '2' && fieldOf(text, 'num-slaves') === `${replicas}`,
        );
      });
      return set;
    } catch (error) {
      await set.stop();
      throw error;
    }
  }

  /** The member that the sentinels call the primary now. */
  async primary(): Promise<Member> {
    const [, port] = ((await this.#sentinels[0]?.ask('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', NAME)) ?? '').split('\n');
    const member = this.members.find((one) => String(one.port) === port);
    if (member === undefined) throw new Error(`the sentinels name port ${port}, which is none of ours`);
    return member;
  }

  /** Settles when the sentinels name another primary than that one, and it says so itself. */
  async failedOver(from: Member, deadlineMs = 20_000): Promise<Member> {
    return eventually(
      'a failover',
      async () => {
        const now = await this.primary();
        return now !== from && (await now.ask('ROLE')).startsWith('master') && now;
      },
      deadlineMs,
    );
  }

  async stop(): Promise<void> {
    for (const member of [...this.#sentinels, ...this.members]) {
      member.signal('SIGCONT');
      await member.kill();
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** redis-cli prints a map as names and values, each on a line. */
function fieldOf(text: string, name: string): string | undefined {
  const lines = text.split('\n');
  return lines[lines.indexOf(name) + 1];
}
