import type { Driver } from './driver.ts';
import { startHop } from './hops/pair.ts';

/** Two plain `pipe()` proxies in a row: as many hops as listener and agent, with no protocol between. */
export const nodeProxy: Driver = {
  name: 'plain Node, two hops',
  unavailable: async () => undefined,
  start: async (originPort) => {
    const far = await startHop('./node-hop.ts', originPort);
    const near = await startHop('./node-hop.ts', far.port);
    return {
      ports: [near.port],
      parts: { listener: [near.pid], agent: [far.pid] },
      version: process.version,
      stop: async () => {
        near.child.disconnect();
        far.child.disconnect();
      },
    };
  },
};
