/**
 * `npm test`: installs what is missing, runs the checks and every test but the long ones, and ends with the line `N passed, N failed`.
 * `test.ts unit` leaves out the tests that run a whole stack; further arguments name the files to run.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { type CheckResults, runChecks } from './checks.ts';

const ROOT = join(import.meta.dirname, '../..');
/** Tests that take minutes, most of them waiting: `npm run test:long`, which `.ci/run` calls after `npm test`. */
const LONG_TESTS = ['test/survival/**', 'test/conformance/broken/**'];
/** Tests that run a whole stack. */
const STACK_TESTS = [
  'deploy/local/test/**',
  'test/e2e/**',
  'test/faults/**',
  'test/fuzz/stack.test.ts',
  'test/network/**',
  'test/sentinel/**',
];

const [first, ...rest] = process.argv.slice(2);
const unit = first === 'unit';
const files = first === undefined || unit ? rest : [first, ...rest];

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

const checks = runChecks();
const tests = await runTests(files, unit ? [...STACK_TESTS, ...LONG_TESTS] : files.length === 0 ? LONG_TESTS : []);
const failed = checks.failed + tests.failed;
console.log(`${checks.passed + tests.passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);

interface VitestReport {
  numPassedTests: number;
  numFailedTests: number;
  testResults: { status: string; assertionResults: { status: string }[] }[];
}

/** A file that does not even load counts as one failure, and so does an error outside of any test. */
async function runTests(only: readonly string[], exclude: readonly string[]): Promise<CheckResults> {
  const folder = mkdtempSync(join(tmpdir(), 'culvert-report-'));
  const report = join(folder, 'report.json');
  try {
    const excludes = exclude.map((pattern) => `--exclude=${pattern}`);
    const args = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...excludes, ...only];
    const vitest = spawn(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), ...args], {
      cwd: ROOT,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => vitest.kill(signal));
    process.on('disconnect', () => vitest.kill('SIGTERM'));
    const code = await new Promise<number>((resolve) => {
      vitest.once('error', () => resolve(1));
      vitest.once('exit', (status) => resolve(status ?? 1));
    });
    const { numPassedTests, numFailedTests, testResults } = JSON.parse(readFileSync(report, 'utf8')) as VitestReport;
    const unloaded = testResults.filter(
      ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
    ).length;
    const found = numFailedTests + unloaded;
    return { passed: numPassedTests, failed: found === 0 && code !== 0 ? 1 : found };
  } catch (error) {
    console.error(`vitest left no report: ${(error as Error).message}`);
    return { passed: 0, failed: 1 };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
