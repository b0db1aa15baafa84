import { readdirSync, readFileSync } from 'node:fs';

interface ProcessEntry {
  pid: number;
  parent: number;
  zombie: boolean;
}

function processTable(): ProcessEntry[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^[0-9]+$/.test(name)) return [];
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      return [{ pid: Number(name), parent: Number(parent), zombie: state === 'Z' }];
    } catch {
      return []; // gone meanwhile
    }
  });
}

/** Children of a process, their children, and so on. */
export function descendantsOf(pid: number): number[] {
  const table = processTable();
  const found = [pid];
  for (const ancestor of found) found.push(...table.filter(({ parent }) => parent === ancestor).map((entry) => entry.pid));
  return found.slice(1);
}

/** Zombies do not run. */
export function isRunning(pid: number): boolean {
  return processTable().some((entry) => entry.pid === pid && !entry.zombie);
}
