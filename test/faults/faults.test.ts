import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FAULTS } from './faults.ts';
import { SHORT } from './profile.ts';
import { isWell, type Row, runFault, tableOf } from './run.ts';
import { World } from './world.ts';

/**
 * Stores that are away or emptied have tests of their own (test/survival), and all in any order takes minutes. The rolling
 * restart sends SIGTERM to all; who has neither devices nor bytes is frozen in real time only.
 */
const LONGER = /SIGTERM|away|emptied|any order|(?:lease-manager|port-allocator), frozen/;
const SHORTENED = FAULTS.filter(({ name }) => !LONGER.test(name));

let world: World;
const rows: Row[] = [];

beforeAll(async () => {
  world = await World.start(SHORT);
  await world.leaks(20_000);
}, 120_000);
afterAll(async () => {
  console.log(tableOf(rows));
  await world?.stop();
});

describe('with two of each service, under load', () => {
  it.each(SHORTENED.map(({ name }) => name))(
    '%s: visitors see no more than is promised, no event is missing, nothing is left behind',
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
