import { readdirSync } from 'node:fs';
import { connect, type NatsConnection } from '@nats-io/transport-node';
import { Redis } from 'ioredis';
import { cpuSeconds, residentMib } from '../bench/figures.ts';
import { childPids } from '../bench/processes.ts';
import type { CulvertEventLike, StackInfo } from '../harness/system.ts';

export const SUBJECT_KINDS = ['commands', 'events', 'streams', 'other'] as const;
export type SubjectKind = (typeof SUBJECT_KINDS)[number];

/** One process, or all of one service. */
export interface Usage {
  /** Of one core. */
  cpuPercent: number;
  rssMib: number;
  /** Open files of the process that has the most. */
  files: number;
}

/** How the system stood in one second. */
export interface Sample {
  /** Seconds since the start of the run. */
  at: number;
  processes: Record<string, Usage>;
  redis: { commands: number; scripts: number; usedMib: number };
  nats: Record<SubjectKind, number>;
  /** From the change in the store to an integrator, in milliseconds: the slowest event of this second; null without one. */
  eventLagMs: number | null;
}

const REPLY = /^_INBOX/;

/** Looks at every process of a stack, its Redis and its bus. */
export class Sampler {
  readonly #info: StackInfo;
  readonly #own: () => number[];
  readonly #redis: Redis;
  readonly #nats: NatsConnection;
  readonly #counts: Record<SubjectKind, number> = { commands: 0, events: 0, streams: 0, other: 0 };
  #lag: number | null = null;
  #before: { at: number; cpu: Record<string, number>; commands: number; scripts: number; counts: Record<SubjectKind, number> };

  private constructor(info: StackInfo, own: () => number[], redis: Redis, nats: NatsConnection) {
    this.#info = info;
    this.#own = own;
    this.#redis = redis;
    this.#nats = nats;
    this.#before = { at: performance.now(), cpu: {}, commands: 0, scripts: 0, counts: { ...this.#counts } };
  }

  /** `own`: the processes of the load itself, which are shown beside those of the system. */
  static async start(info: StackInfo, own: () => number[]): Promise<Sampler> {
    const { host, username, password } = new URL(info.natsServer.address);
    const nats = await connect({ servers: host, user: decodeURIComponent(username), pass: decodeURIComponent(password) });
    const sampler = new Sampler(info, own, new Redis(info.redis.address), nats);
    nats.subscribe('>', {
      callback: (_, message) => {
        const { subject } = message;
        if (subject.startsWith('cmd.') || REPLY.test(subject)) sampler.#counts.commands += 1;
        else if (subject.startsWith('$')) sampler.#counts.streams += 1;
        else if (/^(?:device|lease|conn)\./.test(subject)) sampler.#onEvent(message.json<CulvertEventLike>());
        else sampler.#counts.other += 1;
      },
    });
    await sampler.sample(0);
    return sampler;
  }

  #onEvent({ time, type }: CulvertEventLike): void {
    this.#counts.events += 1;
    if (!type.startsWith('conn.')) this.#lag = Math.max(this.#lag ?? 0, Date.now() - Date.parse(time));
  }

  #pids(): Record<string, number[]> {
    const pids: Record<string, number[]> = {};
    for (const { name, pid } of this.#info.services) {
      pids[name] ??= [];
      pids[name].push(pid);
    }
    pids.redis = [this.#info.redis.pid];
    pids.nats = [this.#info.natsServer.pid];
    pids.edge = [this.#info.nginx.pid, ...childPids(this.#info.nginx.pid)];
    pids['the load itself'] = this.#own();
    return pids;
  }

  async sample(at: number): Promise<Sample> {
    const text = await this.#redis.info('stats', 'memory', 'commandstats');
    const value = (name: string): number => Number(new RegExp(`^${name}:([0-9]+)`, 'm').exec(text)?.[1] ?? 0);
    const calls = (name: string): number => Number(new RegExp(`^cmdstat_${name}:calls=([0-9]+)`, 'm').exec(text)?.[1] ?? 0);
    const now = performance.now();
    const seconds = Math.max(0.001, (now - this.#before.at) / 1000);
    const commands = value('total_commands_processed');
    const scripts = calls('evalsha') + calls('eval');
    const cpu: Record<string, number> = {};
    const processes: Record<string, Usage> = {};
    for (const [name, pids] of Object.entries(this.#pids())) {
      cpu[name] = cpuSeconds(pids);
      const used = cpu[name] - (this.#before.cpu[name] ?? cpu[name]);
      processes[name] = {
        cpuPercent: Math.max(0, (used * 100) / seconds),
        rssMib: residentMib(pids),
        files: Math.max(0, ...pids.map(openFiles)),
      };
    }
    const per = (count: number, before: number): number => Math.max(0, (count - before) / seconds);
    const nats = {} as Record<SubjectKind, number>;
    for (const kind of SUBJECT_KINDS) nats[kind] = per(this.#counts[kind], this.#before.counts[kind]);
    const sample: Sample = {
      at,
      processes,
      redis: {
        commands: per(commands, this.#before.commands),
        scripts: per(scripts, this.#before.scripts),
        usedMib: value('used_memory') / 2 ** 20,
      },
      nats,
      eventLagMs: this.#lag,
    };
    this.#lag = null;
    this.#before = { at: now, cpu, commands, scripts, counts: { ...this.#counts } };
    return sample;
  }

  async stop(): Promise<void> {
    this.#redis.disconnect();
    await this.#nats.close();
  }
}

function openFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0; // ended while we looked
  }
}
