import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { openLog } from './child-log.ts';
import type { ReaperMessage } from './reaper.ts';

const ENTRY = fileURLToPath(new URL('./reaper.ts', import.meta.url));
const RESTART_MS = 200;

/** The stack's end of the reaper: tells it every process group, and starts it again should it die. */
export class Reaper {
  readonly #logPath: string;
  readonly #files: readonly [stackFile: string, lock: string];
  readonly #groups = new Map<number, number>();
  #process: ChildProcess | undefined;
  #closed = false;
  /** Called when the reaper has another pid. */
  onChange: () => void = () => {};

  /** `files` are removed should the stack be killed: stack.json at once, the lock when everything is gone. */
  constructor(logPath: string, files: readonly [stackFile: string, lock: string]) {
    this.#logPath = logPath;
    this.#files = files;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Settles when the reaper listens. */
  async start(): Promise<void> {
    const log = openLog(this.#logPath);
    const child = spawn(process.execPath, [ENTRY, ...this.#files], { detached: true, stdio: ['ignore', log, log, 'ipc'] });
    closeSync(log);
    this.#process = child;
    child.once('exit', () => {
      this.#process = undefined;
      if (this.#closed) return;
      setTimeout(() => {
        if (!this.#closed) this.start().catch(() => {});
      }, RESTART_MS);
    });
    await new Promise<void>((resolve, reject) => {
      child.once('message', () => resolve());
      child.once('error', reject);
      child.once('exit', () => reject(new Error('the reaper does not start')));
    });
    for (const [add, stage] of this.#groups) this.#tell({ add, stage });
    this.onChange();
  }

  add(group: number, stage: number): void {
    this.#groups.set(group, stage);
    this.#tell({ add: group, stage });
  }

  remove(group: number): void {
    this.#groups.delete(group);
    this.#tell({ remove: group });
  }

  #tell(message: ReaperMessage): void {
    // A failed send is one to a reaper that has just died: the next one is told everything.
    if (this.#process?.connected) this.#process.send(message, () => {});
  }

  /** Nothing is left to end: lets it go, and waits until it has. */
  async close(): Promise<void> {
    this.#closed = true;
    const child = this.#process;
    if (child === undefined) return;
    const gone = new Promise((done) => child.once('exit', done));
    if (child.connected) child.disconnect();
    const late = setTimeout(() => child.kill('SIGKILL'), 2_000);
    await gone;
    clearTimeout(late);
  }
}
