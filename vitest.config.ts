import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Vitest begins with the largest files. This one is small, takes two minutes, and would run alone at the end. */
const FIRST = '/test/faults/faults.test.ts';

class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => (moduleId.endsWith(FIRST) ? 0 : 1);
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

export default defineConfig({
  test: {
    include: ['{libs,services,agent,openresty,deploy,test}/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    pool: 'forks',
    // Tests of stacks wait more than they work: with two workers, two cores were idle for more than a third of the time.
    maxWorkers: 3,
    retry: 0,
    sequence: { sequencer: SlowestFirst },
    // A test that needs more says so itself; hooks start real servers and whole stacks.
    testTimeout: 60_000,
    hookTimeout: 90_000,
    teardownTimeout: 30_000,
  },
});
