import { readFileSync } from 'node:fs';

/** A process that is told apart from a later one that got the same pid. */
export interface ProcessIdentity {
  pid: number;
  /** Start time in clock ticks since boot; empty where the system does not tell. */
  started: string;
}

/** Field 22 of /proc/<pid>/stat; the second field, the name, may hold blanks and parentheses. */
function startOf(pid: number): { started: string; zombie: boolean } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { started: fields[19] ?? '', zombie: fields[0] === 'Z' };
  } catch {
    return undefined;
  }
}

export function identityOf(pid: number): ProcessIdentity {
  return { pid, started: startOf(pid)?.started ?? '' };
}

/** Is this very process still there? Zombies are not. */
export function isAlive({ pid, started }: ProcessIdentity): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const now = startOf(pid);
  if (now === undefined) return true; // no /proc here, or no right to it: signal 0 has to do
  return !now.zombie && (started === '' || now.started === started);
}

/** Signals a whole process group; an empty group is none of our trouble. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
