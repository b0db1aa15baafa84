import type { Fault } from './fault.ts';
import { eventually, type World } from './world.ts';

const START_MS = 30_000;
const ROLLED = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator'];

/** SIGTERM to one instance after the other, each only once the one before is back and ready. */
async function rollAll(world: World): Promise<void> {
  for (const { id } of world.info.services.filter(({ name }) => ROLLED.includes(name))) {
    const find = (): { pid: number; health: string } | undefined => world.info.services.find((one) => one.id === id);
    const before = find()?.pid ?? 0;
    process.kill(before, 'SIGTERM');
    await eventually(
      `${id} is back`,
      async () => {
        const now = find();
        if (now === undefined || now.pid === before) return 'not started again';
        const answer = await fetch(now.health.replace('/healthz', '/readyz'), { headers: { connection: 'close' } });
        return answer.status === 200 || `it says ${answer.status}`;
      },
      world.profile.windDownMs + START_MS,
    );
  }
}

/** Zero failed requests, zero broken uploads; connections without an end are cut at the limit of winding down. */
export const ROLLING: Fault = {
  name: 'rolling restart of all',
  inject: rollAll,
  judge: ({ faults }) => {
    const other = faults.filter((text) => !/bulk: refused$|echo: /.test(text));
    return other.length === 0 ? [] : [`visitors saw ${other.join(', ')}`];
  },
};
