import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

export interface TestResults {
  passed: number;
  failed: number;
  /** Files that failed and then passed, each alone on the machine: to be looked at, though they fail nothing. */
  flaky: readonly string[];
  /** A line for each that failed, with the first line of why. */
  failures: readonly string[];
}

export interface TestSelection {
  /** The folder of the vitest configuration; files are named below it. */
  root: string;
  /** Names of files or parts of names; none means all. */
  only: readonly string[];
  /** Patterns of files to leave out. */
  exclude: readonly string[];
  /** What becomes of vitest's own output; default: shown. */
  output?: 'inherit' | 'ignore';
}

interface VitestReport {
  testResults: {
    name: string;
    status: string;
    /** Why the file as a whole failed, for one that does not load. */
    message: string;
    startTime: number;
    endTime: number;
    assertionResults: { status: string; fullName: string; failureMessages: string[] }[];
  }[];
}

interface FileResult {
  file: string;
  seconds: number;
  passed: number;
  /** A file that does not even load counts as one failure. */
  failed: number;
  failures: string[];
}

interface VitestRun {
  files: FileResult[];
  /** Vitest ended badly though no test failed: an error outside of any test, or no report at all. */
  broken: boolean;
}

const VITEST = join(import.meta.dirname, '../../node_modules/vitest/vitest.mjs');
/** Files worth naming when the whole takes too long. */
const SLOWEST = 12;
/** More files than this do not fail by chance: they are not run again. */
const REPEATED_AT_MOST = 5;

/**
 * Runs tests. Files that failed run a second time, one after the other with nothing beside them; what passes then counts as
 * passed and is named as flaky. So one slow moment of a shared machine fails nothing, and nobody overlooks it.
 */
export async function runTests({ root, only, exclude, output = 'inherit' }: TestSelection): Promise<TestResults> {
  const first = await runVitest(root, output, [...exclude.map((pattern) => `--exclude=${pattern}`), ...only]);
  printSlowest(first.files);
  const bad = first.files.filter(({ failed }) => failed > 0);
  const passed = sum(first.files, 'passed');
  const failed = sum(first.files, 'failed');
  const failures = bad.flatMap((file) => file.failures);
  if (first.broken) return { passed, failed: failed + 1, flaky: [], failures: [...failures, 'an error outside of any test'] };
  if (bad.length === 0 || bad.length > REPEATED_AT_MOST) return { passed, failed, flaky: [], failures };

  console.log(`once more, alone: ${bad.map(({ file }) => file).join(', ')}`);
  const second = await runVitest(root, output, ['--maxWorkers=1', ...bad.map(({ file }) => file)]);
  const repeated = second.files.filter(({ file }) => bad.some((one) => one.file === file));
  // A file that is missing from the second report, or a run that broke, proves nothing: the first result stands.
  if (second.broken || repeated.length !== bad.length) return { passed, failed, flaky: [], failures };
  const flaky = repeated.filter((one) => one.failed === 0).map(({ file }) => file);
  return {
    passed: passed - sum(bad, 'passed') + sum(repeated, 'passed'),
    failed: sum(repeated, 'failed'),
    flaky,
    failures: repeated.flatMap((file) => file.failures),
  };
}

/** A line for each that failed, and for each that failed once, which `.ci/run` repeats at its end. */
export function nameFailures({ flaky, failures }: TestResults): void {
  for (const file of flaky) console.log(`FLAKY ${file}: failed once, passed when it ran alone`);
  for (const line of failures) console.log(`FAILED ${line}`);
}

async function runVitest(root: string, output: 'inherit' | 'ignore', args: readonly string[]): Promise<VitestRun> {
  const folder = mkdtempSync(join(tmpdir(), 'culvert-report-'));
  const report = join(folder, 'report.json');
  try {
    const code = await exitOf(root, output, [
      'run',
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...args,
    ]);
    const { testResults } = JSON.parse(readFileSync(report, 'utf8')) as VitestReport;
    const files = testResults.map(({ name, status, message, startTime, endTime, assertionResults }) => {
      const file = relative(root, name);
      const failures = assertionResults
        .filter((test) => test.status === 'failed')
        .map(({ fullName, failureMessages }) => `${file}: ${fullName}: ${firstLine(failureMessages[0])}`);
      if (status === 'failed' && failures.length === 0) failures.push(`${file}: ${firstLine(message)}`);
      return {
        file,
        seconds: (endTime - startTime) / 1000,
        passed: assertionResults.filter((test) => test.status === 'passed').length,
        failed: failures.length,
        failures,
      };
    });
    return { files, broken: code !== 0 && sum(files, 'failed') === 0 };
  } catch (error) {
    console.error(`vitest left no report: ${(error as Error).message}`);
    return { files: [], broken: true };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function exitOf(root: string, output: 'inherit' | 'ignore', args: readonly string[]): Promise<number> {
  const vitest = spawn(process.execPath, [VITEST, ...args], { cwd: root, stdio: ['ignore', output, output] });
  const stop = (): void => {
    vitest.kill('SIGTERM');
  };
  for (const event of ['SIGINT', 'SIGTERM', 'disconnect']) process.on(event, stop);
  try {
    return await new Promise<number>((resolve) => {
      vitest.once('error', () => resolve(1));
      vitest.once('exit', (status) => resolve(status ?? 1));
    });
  } finally {
    for (const event of ['SIGINT', 'SIGTERM', 'disconnect']) process.off(event, stop);
  }
}

function firstLine(text = ''): string {
  return text.split('\n', 1)[0]?.slice(0, 300) ?? '';
}

function printSlowest(files: readonly FileResult[]): void {
  const slowest = files.toSorted((a, b) => b.seconds - a.seconds).slice(0, SLOWEST);
  if (files.length <= 1) return;
  console.log(`slowest: ${slowest.map(({ file, seconds }) => `${file} ${Math.round(seconds)} s`).join(', ')}`);
}

function sum(files: readonly FileResult[], key: 'passed' | 'failed'): number {
  return files.reduce((total, file) => total + file[key], 0);
}
