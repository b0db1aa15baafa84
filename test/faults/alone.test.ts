import { afterAll, beforeAll, describe, expect, it } from 'vitest';
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

describe('with one of each service, under load', () => {
  it.each(['ws-ingress, SIGTERM', 'tcp-listener, SIGTERM'])(
    '%s: requests wait for its restart, and none fails',
    async (name) => {
      const fault = FAULTS.find((one) => one.name === name);
      if (fault === undefined) throw new Error(`there is no fault ${name}`);
      const row = await runFault(world, fault);
      rows.push(row);
      expect(isWell(row), tableOf([row])).toBe(true);
    },
    120_000,
  );
});
