import { DEFAULT_LIMITS } from '@culvert/contracts';
import { afterAll, describe, expect, it } from 'vitest';
import type { Fault } from './fault.ts';
import { FAULTS } from './faults.ts';
import { SHORT } from './profile.ts';
import { type Row, Runner, tableOf } from './run.ts';

const rows: Row[] = [];
const runner = new Runner({ ...SHORT, env: { ...SHORT.env, CULVERT_REPLICAS: 'ws-ingress=1' } }, (row) => void rows.push(row));

afterAll(async () => {
  console.log(tableOf(rows));
  await runner.stop();
});

/** What the edge's patience leaves for a start, after a listener's last second of accepting. */
const PATIENCE_MS = DEFAULT_LIMITS.EDGE_RETRY_MS - 2_000;

/** Where the start alone takes longer than edge and listener wait, on a machine without a core to spare, they say 503 as they should. */
const patient = (fault: Fault): Fault => ({
  ...fault,
  judge: (seen, world) => {
    const slow = world.restartMs > PATIENCE_MS;
    if (slow) console.log(`it needed ${Math.round(world.restartMs)} ms to start: longer than visitors wait`);
    const faults = seen.faults.filter((text) => !slow || !/http: status 503 (?:unavailable|device_offline)$/.test(text));
    return fault.judge({ ...seen, faults, ...(faults.length === 0 ? { failed: 0, refused: 0 } : {}) }, world);
  },
});

describe('with one of each service, under load', () => {
  it.each(['ws-ingress, SIGTERM', 'tcp-listener, SIGTERM'])(
    '%s: requests wait for its restart, and none fails',
    async (name) => {
      const fault = FAULTS.find((one) => one.name === name);
      if (fault === undefined) throw new Error(`there is no fault ${name}`);
      const { outcome } = await runner.run(patient(fault));
      if (outcome === 'flaky') console.log(`flaky, well only the second time: ${name}`);
      expect(outcome, tableOf(rows.slice(-2))).not.toBe('failed');
    },
    300_000,
  );
});
