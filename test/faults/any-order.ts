import type { StackInfo } from '../harness/system.ts';
import type { Fault } from './fault.ts';
import { eventually, type World } from './world.ts';

const START_MS = 30_000;
/** Between two blows, at most; none waits for the one before to be mended. */
const PAUSE_MS = 2_000;
/** Of some, the process is paused for as long before it is killed. */
const FREEZE_MS = 1_500;

function everybody({ services, redis, natsServer, nginx }: StackInfo): { id: string; pid: number }[] {
  const servers = Object.entries({ redis, natsServer, nginx }).map(([id, { pid }]) => ({ id, pid }));
  return [...services, ...servers];
}

/** The order is drawn anew each time, and said, so that a failure can be understood. */
function shuffled<T>(list: readonly T[]): T[] {
  return list
    .map((one) => ({ one, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ one }) => one);
}

const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Every process of stack.json is killed once, in any order, one in three paused before, while others are just starting. */
async function killAll(world: World): Promise<void> {
  const order = shuffled(everybody(world.info)).map(({ id }) => ({ id, freeze: Math.random() < 1 / 3 }));
  console.log(`     ${order.map(({ id, freeze }) => (freeze ? `${id} (paused)` : id)).join(', ')}`);
  const pidOf = (id: string): number | undefined => everybody(world.info).find((one) => one.id === id)?.pid;
  for (const { id, freeze } of order) {
    const before = pidOf(id);
    if (before === undefined) continue;
    if (freeze) {
      process.kill(before, 'SIGSTOP');
      await pause(FREEZE_MS);
    }
    process.kill(before, 'SIGKILL');
    await eventually(`${id} was started again`, () => pidOf(id) !== before || `still ${before}`, START_MS);
    await pause(Math.random() * PAUSE_MS);
  }
}

/** Visitors may see anything meanwhile; afterwards all is well, nothing is left, and no event is missing. */
export const ANY_ORDER: Fault = { name: 'all, kill -9 in any order', inject: killAll, judge: () => [] };
