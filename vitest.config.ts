import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{libs,services,agent,openresty,deploy,test}/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    pool: 'forks',
    // Tests of stacks wait more than they work: with two workers, two cores were idle for more than a third of the time.
    maxWorkers: 3,
    retry: 0,
    // A test that needs more says so itself; hooks start real servers and whole stacks.
    testTimeout: 60_000,
    hookTimeout: 90_000,
    teardownTimeout: 30_000,
  },
});
