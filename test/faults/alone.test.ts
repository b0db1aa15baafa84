import { DEFAULT_LIMITS } from '@culvert/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Fault } from './fault.ts';
import { FAULTS } from './faults.ts';
import { SHORT } from './profile.ts';
import { isWell, type Row, runFault, tableOf } from './run.ts';
import { World } from './world.ts';

let world: World;
const rows: Row[] = [];

beforeAll(async () => {
  world = await World.start({ ...SHORT, env: { ...SHORT.env, CULVERT_REPLICAS: 'ws-ingress=1' } });
  await world.leaks(20_000);
}, 120_000);
afterAll(async () => {
  console.log(tableOf(rows));
  await world?.stop();
});

/** What the edge's patience leaves for a start, after a listener's last second of accepting. */
const PATIENCE_MS = DEFAULT_LIMITS.EDGE_RETRY_MS - 2_000;

/** Where the start alone takes longer than the edge waits, on a machine without a core to spare, it says 503 as it should. */
const patient = (fault: Fault): Fault => ({
  ...fault,
  judge: (seen, world) => {
    const slow = world.restartMs > PATIENCE_MS;
    if (slow) console.log(`it needed ${Math.round(world.restartMs)} ms to start: longer than the edge waits`);
    const faults = seen.faults.filter((text) => !slow || !text.endsWith('http: status 503 unavailable'));
    return fault.judge({ ...seen, faults, ...(faults.length === 0 ? { failed: 0, refused: 0 } : {}) }, world);
  },
});

describe('with one of each service, under load', () => {
  it.each(['ws-ingress, SIGTERM', 'tcp-listener, SIGTERM'])(
    '%s: requests wait for its restart, and none fails',
    async (name) => {
      const fault = FAULTS.find((one) => one.name === name);
      if (fault === undefined) throw new Error(`there is no fault ${name}`);
      const row = await runFault(world, patient(fault));
      rows.push(row);
      expect(isWell(row), tableOf([row])).toBe(true);
    },
    120_000,
  );
});
