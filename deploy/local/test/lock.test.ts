import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockedError, StateLock } from '../src/lock.ts';
import { identityOf, isAlive } from '../src/process-identity.ts';

let dir: string;
const spawned: ChildProcess[] = [];
const sleeper = (): ChildProcess => {
  const child = spawn('sleep', ['60'], { detached: true });
  spawned.push(child);
  return child;
};
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'culvert-lock-'));
});
afterEach(() => {
  for (const child of spawned.splice(0)) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

const writeLock = (record: object): void => writeFileSync(join(dir, 'lock.json'), JSON.stringify(record));

describe('the lock of a state folder', () => {
  it('is refused while its holder lives, naming the folder and the process', async () => {
    const lock = await StateLock.take(dir);
    const second = StateLock.take(dir);
    await expect(second).rejects.toThrow(LockedError);
    await expect(StateLock.take(dir)).rejects.toThrow(
      `CULVERT_STATE_DIR="${dir}" is used by another stack (process ${process.pid})`,
    );
    lock.release();
    expect(existsSync(lock.path)).toBe(false);
    (await StateLock.take(dir)).release();
  });

  it('is taken over from a holder that is gone', async () => {
    const child = sleeper();
    const stack = identityOf(child.pid ?? 0);
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
    writeLock({ stack, reaper: null, children: [] });
    (await StateLock.take(dir)).release();
  });

  it('is not fooled by another process that got the pid of its holder', async () => {
    const child = sleeper();
    writeLock({ stack: { pid: child.pid, started: '1' }, reaper: null, children: [] });
    (await StateLock.take(dir)).release();
    expect(isAlive(identityOf(child.pid ?? 0))).toBe(true);
  });

  it('ends what outlived both its holder and the reaper', async () => {
    const orphan = sleeper();
    const gone = once(orphan, 'exit');
    writeLock({ stack: { pid: 2 ** 22 - 1, started: '1' }, reaper: null, children: [identityOf(orphan.pid ?? 0)] });
    const lock = await StateLock.take(dir);
    await gone;
    lock.release();
  });

  it('waits for the reaper of a killed stack', async () => {
    const reaper = sleeper();
    writeLock({ stack: { pid: 2 ** 22 - 1, started: '1' }, reaper: identityOf(reaper.pid ?? 0), children: [] });
    let taken = false;
    const taking = StateLock.take(dir).then((lock) => {
      taken = true;
      return lock;
    });
    await new Promise((done) => setImmediate(done));
    expect(taken).toBe(false);
    reaper.kill('SIGKILL');
    (await taking).release();
  });

  it('names its holder from the first moment on', async () => {
    const lock = await StateLock.take(dir);
    lock.record(undefined, []);
    expect(JSON.parse(readFileSync(lock.path, 'utf8'))).toMatchObject({ stack: { pid: process.pid } });
    lock.release();
  });

  it('lets exactly one of many win', async () => {
    const takes = await Promise.allSettled(Array.from({ length: 8 }, () => StateLock.take(dir)));
    expect(takes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  });
});
