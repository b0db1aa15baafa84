import type { Driver } from './driver.ts';
import { startTunnel } from './hops/pair.ts';

/** `libs/relay` in two processes, recycled transfers without edge, events and logs: what the data path itself costs. */
export const relayAlone: Driver = {
  name: "Culvert's relay alone",
  unavailable: async () => undefined,
  start: async (originPort) => ({
    ...(await startTunnel('./relay-near.ts', './relay-far.ts', originPort)),
    version: 'this checkout, recycled transfers, zero masks as over TLS',
  }),
};
