import { linkSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { readIfThere, writePrivate } from './files.ts';
import { identityOf, isAlive, type ProcessIdentity, signalGroup } from './process-identity.ts';

interface LockRecord {
  stack: ProcessIdentity;
  /** Ends what a killed stack left behind. */
  reaper: ProcessIdentity | null;
  /** Leaders of the process groups that the stack started. */
  children: ProcessIdentity[];
}

/** Another stack uses the state folder. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
}

/** How long the reaper of a killed stack may take to end what it left behind. */
const REAPER_MS = 20_000;

/**
 * One stack a state folder: two Redis servers on one append-only file would destroy it. The lock is a file that names its
 * holder; that of a holder which was killed is recognised as stale, and whatever outlived it is ended first.
 */
export class StateLock {
  readonly path: string;
  readonly #record: LockRecord = { stack: identityOf(process.pid), reaper: null, children: [] };

  private constructor(path: string) {
    this.path = path;
  }

  /** @throws LockedError when a living stack holds the folder. */
  static async take(stateDir: string): Promise<StateLock> {
    const lock = new StateLock(join(stateDir, 'lock.json'));
    for (;;) {
      // Linked, not written in place: nobody must see a lock that does not name its holder yet.
      const draft = `${lock.path}.${process.pid}`;
      writePrivate(draft, JSON.stringify(lock.#record));
      try {
        linkSync(draft, lock.path);
        return lock;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      } finally {
        rmSync(draft, { force: true });
      }
      await clearStale(lock.path, stateDir);
    }
  }

  /** Writes down whom the next stack would have to end, should this one be killed. */
  record(reaper: number | undefined, children: readonly number[]): void {
    this.#record.reaper = reaper === undefined ? null : identityOf(reaper);
    this.#record.children = children.map(identityOf);
    writePrivate(this.path, JSON.stringify(this.#record));
  }

  release(): void {
    rmSync(this.path, { force: true });
  }
}

async function clearStale(path: string, stateDir: string): Promise<void> {
  const text = readIfThere(path);
  if (text === undefined) return;
  const record = parse(text);
  if (record !== undefined && isAlive(record.stack)) {
    throw new LockedError(
      `CULVERT_STATE_DIR=${JSON.stringify(stateDir)} is used by another stack (process ${record.stack.pid}); ` +
        'stop that one, or choose another folder',
    );
  }
  if (record !== undefined) {
    const { reaper } = record;
    const until = Date.now() + REAPER_MS;
    while (reaper !== null && isAlive(reaper) && Date.now() < until) await delay(100);
    for (const child of record.children) if (isAlive(child)) signalGroup(child.pid, 'SIGKILL');
  }
  // Only the record that was judged is removed: another starter may have put its own there meanwhile.
  if (readIfThere(path) === text) rmSync(path, { force: true });
}

function parse(text: string): LockRecord | undefined {
  try {
    const record = JSON.parse(text) as Partial<LockRecord>;
    if (typeof record.stack?.pid !== 'number') return undefined;
    return { stack: record.stack, reaper: record.reaper ?? null, children: record.children ?? [] };
  } catch {
    return undefined; // not one of ours
  }
}
