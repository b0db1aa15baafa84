import { describe, it } from 'vitest';
import { PYTHON, PYTHON_WITHOUT, TYPESCRIPT } from './commands.ts';
import { ITEMS } from './items/index.ts';
import { grade, type Result } from './suite.ts';

const failed = (results: Result[]): string[] =>
  results.filter((result) => result.grade === 'fail').map(({ item, why }) => `${item.name}: ${why}`);

describe.concurrent('the conformance suite', () => {
  it('is passed in whole by the TypeScript agent', async ({ expect }) => {
    const results = await grade(TYPESCRIPT, ITEMS, new Set());
    expect(failed(results)).toEqual([]);
    expect(results.map(({ item }) => item.name)).toEqual(ITEMS.map(({ name }) => name));
    expect(results.every((result) => result.grade === 'pass')).toBe(true);
  }, 400_000);

  it('is passed by the device in Python, as far as it claims anything', async ({ expect }) => {
    const results = await grade(PYTHON, ITEMS, PYTHON_WITHOUT);
    expect(failed(results)).toEqual([]);
    expect(results.filter((result) => result.grade === 'pass').length).toBeGreaterThan(25);
  }, 400_000);
});
