import type { Driver } from './driver.ts';

export const direct: Driver = {
  name: 'direct',
  unavailable: async () => undefined,
  start: async (port) => ({
    ports: [port],
    parts: {},
    http: { port, host: 'origin' },
    version: 'loopback',
    stop: async () => {},
  }),
};
