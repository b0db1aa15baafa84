/** The tests of this folder, as main.ts runs them beside the containers. Ends with `N passed, N failed`. */
import { join } from 'node:path';
import { runTests } from '../bin/vitest-run.ts';

const { passed, failed, flaky } = await runTests({
  root: join(import.meta.dirname, '../..'),
  only: ['test/containers'],
  exclude: [],
});
if (flaky.length > 0) console.log(`flaky: ${flaky.join(', ')}`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
