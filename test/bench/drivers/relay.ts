import type { Driver } from './driver.ts';
import { startTunnel } from './hops/pair.ts';

/** `libs/relay` in two processes, without edge, events and logs: what the data path itself costs. */
export const relayAlone: Driver = {
  name: "Culvert's relay alone",
  unavailable: async () => undefined,
  start: async (originPort) => ({
    ...(await startTunnel('./relay-near.ts', './relay-far.ts', originPort)),
    version: 'this checkout, random masks',
  }),
};
