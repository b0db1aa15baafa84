import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['{libs,services,agent,openresty,deploy,test}/**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    pool: 'forks',
    maxWorkers: 2,
    retry: 0,
    // A test that needs more says so itself; hooks start real servers and whole stacks.
    testTimeout: 60_000,
    hookTimeout: 90_000,
    teardownTimeout: 30_000,
  },
});
