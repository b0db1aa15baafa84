import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files of this process; they go with it. One that was killed leaves them, and the next who wants one takes it over. */
const ours = new Set<string>();
process.once('exit', () => ours.forEach(remove));

/**
 * Takes a name for this process, of all on this machine, until `disclaim` or its end: of two that choose a free port at once,
 * neither has bound it yet. False when a living process has it.
 *
 * @throws What the system says when no file can be made there at all.
 */
export function claim(name: string): boolean {
  const file = join(tmpdir(), name);
  try {
    writeFileSync(file, String(process.pid), { flag: 'wx' });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (ours.has(file) || lives(file)) return false;
    try {
      rmSync(file, { force: true });
    } catch {
      return false; // another user's
    }
    return claim(name);
  }
  ours.add(file);
  return true;
}

/** Gives a name back that `claim` gave to this process. */
export function disclaim(name: string): void {
  const file = join(tmpdir(), name);
  if (ours.has(file)) remove(file);
}

function remove(file: string): void {
  ours.delete(file);
  rmSync(file, { force: true });
}

/** Does the process that wrote the file live? One that is just being written has no text yet. */
function lives(file: string): boolean {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    return false; // it has just gone
  }
  if (text === '') return true;
  try {
    process.kill(Number(text), 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
