/**
 * `npm test`: installs what is missing, runs the checks and every test but the long ones, and ends with the line `N passed, N failed`.
 * `test.ts unit` leaves out the tests that run a whole stack, `test.ts long` runs the long ones; further arguments name the files to run.
 */
import { join } from 'node:path';
import { buildDashboard } from '../../dashboard/build.ts';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { runChecks } from './checks.ts';
import { nameFailures, runTests } from './vitest-run.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Tests that take minutes, most of them waiting: `npm run test:long`, which `.ci/run` calls after `npm test`. */
const LONG_FOLDERS = [
  'test/survival',
  'test/conformance',
  'test/load',
  'test/upgrade',
  'test/operating',
  'test/nats-cli',
  'test/dashboard/long',
  'test/bench',
  'agent/native/ports/lwip',
  'agent/native/test/long',
];
/** `test/containers` is a command of its own: `npm run test:containers`. */
const LONG_TESTS = [...LONG_FOLDERS, 'test/containers'].map((folder) => `${folder}/**`);
/** Tests that run a whole stack. */
const STACK_TESTS = [
  'deploy/local/test/**',
  'test/dashboard/**',
  'test/e2e/**',
  'test/faults/**',
  'test/fuzz/stack.test.ts',
  'test/network/**',
  'test/sentinel/**',
];

const [first, ...rest] = process.argv.slice(2);
const unit = first === 'unit';
const files = first === 'long' ? [...LONG_FOLDERS, ...rest] : first === undefined || unit ? rest : [first, ...rest];

await installSystemPackages(['redis-server', 'nats-server', 'nginx']);
try {
  await installSystemPackages(['chromium', 'clients', 'native', 'observability']);
} catch (error) {
  console.log(`The tests that need these will fail. ${(error as Error).message}`);
}
try {
  if (process.getuid?.() === 0) await installSystemPackages(['networks']);
} catch (error) {
  console.log(`The tests of bad networks will be skipped. ${(error as Error).message}`);
}

if (await buildDashboard()) console.log('the dashboard is built');
const checks = runChecks();
const exclude = unit ? [...STACK_TESTS, ...LONG_TESTS] : files.length === 0 ? LONG_TESTS : [];
const tests = await runTests({ root: ROOT, only: files, exclude });
const failed = checks.failed + tests.failed;
nameFailures(tests);
console.log(`${checks.passed + tests.passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
