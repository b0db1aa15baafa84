import { mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runTests, type TestResults } from '../bin/vitest-run.ts';

let root: string;
beforeEach(() => {
  // Outside of the repository there is no vitest to import: its functions are globals here.
  root = realpathSync(mkdtempSync(join(tmpdir(), 'culvert-runner-')));
  writeFileSync(join(root, 'vitest.config.mjs'), 'export default { test: { globals: true, include: ["*.test.mjs"] } };');
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const PASSES = 'test("passes", () => {});';
const FAILS = 'test("fails", () => expect(1).toBe(2));';
const run = (): Promise<TestResults> => runTests({ root, only: [], exclude: ['left-out.test.mjs'], output: 'ignore' });
const file = (name: string, text: string): void => writeFileSync(join(root, `${name}.test.mjs`), text);

describe('the runner of all tests', () => {
  it('starts no test as if in production, whatever it has built before', () => {
    expect(process.env.NODE_ENV).toBe('test');
  });

  it('counts what passed and leaves out what it is told to', async () => {
    file('one', PASSES + PASSES);
    file('left-out', FAILS);
    expect(await run()).toEqual({ passed: 2, failed: 0, flaky: [], failures: [] });
  });

  it('repeats a file that failed, and names it when it passes then', async () => {
    file('well', PASSES);
    file(
      'moody',
      `import { existsSync, writeFileSync } from 'node:fs';
       test('passes', () => {});
       test('fails once', () => {
         const been = existsSync('been');
         writeFileSync('been', '');
         expect(been).toBe(true);
       });`,
    );
    expect(await run()).toEqual({ passed: 3, failed: 0, flaky: ['moody.test.mjs'], failures: [] });
  });

  it('counts what fails twice, and a file that does not load', async () => {
    file('well', PASSES);
    file('bad', PASSES + FAILS);
    file('unreadable', 'import "./missing.mjs";');
    const { failures, ...counts } = await run();
    expect(counts).toEqual({ passed: 2, failed: 2, flaky: [] });
    expect(failures.toSorted()).toEqual([
      expect.stringMatching(/^bad\.test\.mjs: fails: .*expected 1 to be 2/),
      expect.stringMatching(/^unreadable\.test\.mjs: .*missing\.mjs/),
    ]);
  });

  it('does not repeat where many fail', async () => {
    for (const name of 'abcdef') file(name, FAILS);
    expect(await run()).toMatchObject({ passed: 0, failed: 6, flaky: [] });
  });

  it('counts an error outside of any test', async () => {
    file(
      'loose',
      `${PASSES} test("lets an error loose", () => { setTimeout(() => { throw new Error("loose"); }, 0); return new Promise((r) => setTimeout(r, 50)); });`,
    );
    expect(await run()).toMatchObject({ passed: 2, failed: 1, failures: ['an error outside of any test'] });
  });
});
