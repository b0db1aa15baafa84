/**
 * Process that outlives a killed stack for as long as it takes to end what the stack started: it is told every process group,
 * and once its IPC channel closes it removes stack.json, ends them
 * stage by stage, removes the lock and exits. Arguments: the paths of stack.json and of the lock.
 */
import { rmSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { identityOf, isAlive, type ProcessIdentity, signalGroup } from './process-identity.ts';

export type ReaperMessage = { add: number; stage: number } | { remove: number };

/** A stage has this long between SIGTERM and SIGKILL: nobody is there to wait for a clean end. */
const STAGE_MS = 2_500;

if (process.send !== undefined) {
  const groups = new Map<number, Group>();
  // A Ctrl-C is meant for the stack; this process ends when the stack has.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('message', (message: ReaperMessage) => {
    if ('add' in message) groups.set(message.add, { leader: identityOf(message.add), stage: message.stage });
    else groups.delete(message.remove);
  });
  process.once('disconnect', () => void reap(groups).then(() => process.exit(0)));
  process.send({ ready: true });
}

interface Group {
  leader: ProcessIdentity;
  stage: number;
}

async function reap(groups: ReadonlyMap<number, Group>): Promise<void> {
  if (groups.size === 0) return;
  const [stackFile, lock] = process.argv.slice(2) as [string, string];
  rmSync(stackFile, { force: true });
  for (const stage of [...new Set([...groups.values()].map((group) => group.stage))].sort((a, b) => a - b)) {
    const leaders = [...groups.values()].filter((group) => group.stage === stage).map((group) => group.leader);
    for (const { pid } of leaders) signalGroup(pid, 'SIGTERM');
    const until = Date.now() + STAGE_MS;
    while (leaders.some(isAlive) && Date.now() < until) await delay(50);
    for (const { pid } of leaders) signalGroup(pid, 'SIGKILL'); // also what outlived its leader
  }
  rmSync(lock, { force: true }); // last: until now the next stack has to wait
}
