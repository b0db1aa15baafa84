import { afterAll, describe, expect, it } from 'vitest';
import { FAULTS } from './faults.ts';
import { SHORT } from './profile.ts';
import { type Row, Runner, tableOf } from './run.ts';

/**
 * Stores that are away or emptied have tests of their own (test/survival), and all in any order takes minutes. The rolling
 * restart sends SIGTERM to all; who has neither devices nor bytes is frozen in real time only.
 */
const LONGER = /SIGTERM|away|emptied|any order|(?:lease-manager|port-allocator), frozen/;
const SHORTENED = FAULTS.filter(({ name }) => !LONGER.test(name));

const rows: Row[] = [];
const runner = new Runner(SHORT, (row) => void rows.push(row));

afterAll(async () => {
  console.log(tableOf(rows));
  await runner.stop();
});

describe('with two of each service, under load', () => {
  it.each(SHORTENED)(
    '$name: visitors see no more than is promised, no event is missing, nothing is left behind',
    async (fault) => {
      const { outcome } = await runner.run(fault);
      if (outcome === 'flaky') console.log(`flaky, well only the second time: ${fault.name}`);
      expect(outcome, tableOf(rows.slice(-2))).not.toBe('failed');
    },
    300_000,
  );
});
