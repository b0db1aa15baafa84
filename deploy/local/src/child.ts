import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { openLog, tailOf, trimLog } from './child-log.ts';
import { signalGroup } from './process-identity.ts';

/** What a child says of itself once it can do its work. */
export type ReadyInfo = Readonly<Record<string, unknown>>;

export interface ChildPlan {
  /** Name in messages and of the log file: `redis`, `lease-manager-1`. */
  name: string;
  command: string;
  args: readonly string[];
  env: Readonly<Record<string, string>>;
  logPath: string;
  /** Children of a lower stage are stopped first. */
  stage: number;
  /** The stack's own processes tell by IPC that they are ready; of others it is found out by asking. */
  ready: 'ipc' | ((signal: AbortSignal) => Promise<boolean>);
}

export interface ChildWatcher {
  /** A process was started: its group is `pid`. */
  started(child: Child, pid: number): void;
  ended(child: Child, pid: number): void;
  /** It does its work. Called after every start. */
  ready(child: Child): void;
  /** It died and will be started again after `delayMs`. */
  died(child: Child, how: string, delayMs: number): void;
}

/** A child must be ready so soon after its start. */
const READY_MS = 30_000;
const BACKOFF_FIRST_MS = 100;
const BACKOFF_MOST_MS = 5_000;
/** One that lived this long starts again at the first backoff. */
const STABLE_MS = 60_000;
/** Deaths before the first readiness after which the start of the stack fails. */
const START_ATTEMPTS = 3;
/** Exit code of services whose settings are wrong: trying again changes nothing. */
const EXIT_SETTINGS = 2;
const TRIM_MS = 60_000;

/**
 * One supervised process, from the start of the stack to its stop:
 *
 *   starting --ready--> running --died--> waiting --backoff--> starting
 *       \--died----------------------------^           (any) --stop()--> stopped
 *
 * It leads a process group of its own, so that a Ctrl-C at the terminal reaches the stack only, and what it leaves behind when
 * it dies (workers of nginx go on serving) is ended before it is started again.
 */
export class Child {
  readonly plan: ChildPlan;
  readonly #watcher: ChildWatcher;
  readonly #stopped = new AbortController();
  #process: ChildProcess | undefined;
  #life: Promise<void> | undefined;
  /** What it said when it became ready last; undefined while it is not. */
  info: ReadyInfo | undefined;

  constructor(plan: ChildPlan, watcher: ChildWatcher) {
    this.plan = plan;
    this.#watcher = watcher;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /**
   * Settles once it is ready for the first time; from then on it is restarted whenever it dies.
   * @throws Error with the end of its log when it does not become ready.
   */
  async start(): Promise<void> {
    const first = Promise.withResolvers<void>();
    this.#life = this.#live(first);
    return first.promise;
  }

  async #live(first: PromiseWithResolvers<void>): Promise<void> {
    let backoff = BACKOFF_FIRST_MS;
    let everReady = false;
    for (let attempt = 1; !this.#stopped.signal.aborted; attempt += 1) {
      const startedAt = performance.now();
      const end = await this.#once(() => {
        everReady = true;
        first.resolve();
      });
      if (this.#stopped.signal.aborted) break;
      if (!everReady && (end.code === EXIT_SETTINGS || attempt >= START_ATTEMPTS)) {
        first.reject(
          new Error(
            `${this.plan.name} does not start (${end.how}). Its log, ${this.plan.logPath}, ends with:\n${tailOf(this.plan.logPath)}`,
          ),
        );
        return;
      }
      if (performance.now() - startedAt > STABLE_MS) backoff = BACKOFF_FIRST_MS;
      this.#watcher.died(this, end.how, backoff);
      await delay(backoff, undefined, { signal: this.#stopped.signal }).catch(() => {});
      backoff = Math.min(backoff * 2, BACKOFF_MOST_MS);
    }
    first.reject(new Error(`${this.plan.name} was stopped before it was ready`));
  }

  /** One process from spawn to exit. Never throws. */
  async #once(onReady: () => void): Promise<{ code: number | null; how: string }> {
    const { name, command, args, env, logPath, ready } = this.plan;
    const log = openLog(logPath);
    const child = spawn(command, [...args], {
      detached: true,
      env: { ...env },
      stdio: ready === 'ipc' ? ['ignore', log, log, 'ipc'] : ['ignore', log, log],
    });
    closeSync(log);
    const { pid } = child;
    const ended = new AbortController();
    const trim = setInterval(() => trimLog(logPath), TRIM_MS);
    const late = setTimeout(() => child.kill('SIGKILL'), READY_MS);
    const exited = new Promise<{ code: number | null; how: string }>((resolve) => {
      child.once('error', (error) => {
        if (pid === undefined) resolve({ code: null, how: `${command} cannot be started: ${error.message}` });
      });
      child.once('exit', (code, signal) => resolve({ code, how: signal === null ? `exit code ${code}` : `killed by ${signal}` }));
    });
    const isReady = (info: ReadyInfo): void => {
      if (ended.signal.aborted) return;
      clearTimeout(late);
      this.info = info;
      this.#watcher.ready(this);
      onReady();
    };
    if (pid !== undefined) {
      this.#process = child;
      this.#watcher.started(this, pid);
      if (ready === 'ipc') child.on('message', (message: ReadyInfo) => message.ready === true && isReady(message));
      else void this.#ask(ready, ended.signal).then((well) => well && isReady({ name }));
    }
    const end = await exited;
    ended.abort();
    clearTimeout(late);
    clearInterval(trim);
    this.#process = undefined;
    this.info = undefined;
    if (pid !== undefined) {
      signalGroup(pid, 'SIGKILL');
      this.#watcher.ended(this, pid);
    }
    return end;
  }

  async #ask(ready: (signal: AbortSignal) => Promise<boolean>, ended: AbortSignal): Promise<boolean> {
    while (!ended.aborted) {
      if (await ready(ended).catch(() => false)) return true;
      await delay(30);
    }
    return false;
  }

  /** SIGTERM, and SIGKILL for the whole group after `deadlineMs`. Settles when it is gone; twice is safe. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopped.abort();
    const child = this.#process;
    child?.kill('SIGTERM');
    const late = setTimeout(() => {
      if (child?.pid !== undefined) signalGroup(child.pid, 'SIGKILL');
    }, deadlineMs);
    await this.#life;
    clearTimeout(late);
  }
}
