import { DEFAULT_LIMITS } from '@culvert/contracts';
import type { Fault } from './fault.ts';
import { eventually, type World } from './world.ts';

const START_MS = 30_000;
const ROLLED = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator'];

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** What the edge's patience leaves for the start of a listener, after its last second of accepting. */
const PATIENCE_MS = DEFAULT_LIMITS.EDGE_RETRY_MS - 2_000;

/** SIGTERM to one instance after the other, each only once the one before is back and ready. */
async function rollAll(world: World): Promise<void> {
  for (const { id, name } of world.info.services.filter(({ name }) => ROLLED.includes(name))) {
    const find = (): { pid: number; health: string } | undefined => world.info.services.find((one) => one.id === id);
    const before = find()?.pid ?? 0;
    process.kill(before, 'SIGTERM');
    let goneAt: number | undefined;
    await eventually(
      `${id} is back`,
      async () => {
        if (!isAlive(before)) goneAt ??= performance.now();
        const now = find();
        if (now === undefined || now.pid === before) return 'not started again';
        const answer = await fetch(now.health.replace('/healthz', '/readyz'), { headers: { connection: 'close' } });
        return answer.status === 200 || `it says ${answer.status}`;
      },
      world.profile.windDownMs + START_MS,
    );
    if (name !== 'tcp-listener' || goneAt === undefined) continue;
    world.slowestRestartMs = Math.max(world.slowestRestartMs, performance.now() - goneAt);
  }
}

/**
 * Zero failed requests, zero broken uploads; connections without an end are cut at the limit of winding down. Where the start
 * of a listener alone takes longer than the edge waits, on a machine without a core to spare, the edge says 503 as it should.
 */
export const ROLLING: Fault = {
  name: 'rolling restart of all',
  inject: rollAll,
  judge: ({ faults }, { slowestRestartMs }) => {
    const slow = slowestRestartMs > PATIENCE_MS;
    const allowed = slow ? /bulk: refused$|echo: |http: status 503$/ : /bulk: refused$|echo: /;
    const other = faults.filter((text) => !allowed.test(text));
    if (slow) console.log(`     a listener needed ${Math.round(slowestRestartMs)} ms to start: longer than the edge waits`);
    return other.length === 0 ? [] : [`visitors saw ${other.join(', ')}`];
  },
};
