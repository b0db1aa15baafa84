/** The tests of this folder, as main.ts runs them beside the containers. Ends with `N passed, N failed`. */
import { join } from 'node:path';
import { nameFailures, runTests } from '../bin/vitest-run.ts';

const tests = await runTests({
  root: join(import.meta.dirname, '../..'),
  only: ['test/containers'],
  exclude: [],
});
nameFailures(tests);
console.log(`${tests.passed} passed, ${tests.failed} failed`);
process.exit(tests.failed === 0 ? 0 : 1);
