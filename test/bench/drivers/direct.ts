import type { Driver } from './driver.ts';

export const direct: Driver = {
  name: 'direct',
  unavailable: async () => undefined,
  start: async (port) => ({ port, pids: [], version: 'loopback', stop: async () => {} }),
};
