import { type ChildProcess, fork } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import type { Driver } from './driver.ts';

/** Two plain `pipe()` proxies in a row: as many hops as listener and agent, with no protocol between. */
export const nodeProxy: Driver = {
  name: 'plain Node, two hops',
  unavailable: async () => undefined,
  start: async (originPort) => {
    const near = await hop(originPort);
    const far = await hop(near.port);
    return {
      port: far.port,
      pids: [near.child.pid as number, far.child.pid as number],
      version: process.version,
      stop: async () => {
        near.child.disconnect();
        far.child.disconnect();
      },
    };
  },
};

async function hop(target: number): Promise<{ child: ChildProcess; port: number }> {
  const child = fork(new URL('./node-hop.ts', import.meta.url), [String(target)]);
  const address = await new Promise<AddressInfo>((resolve) =>
    child.once('message', (message) => resolve(message as AddressInfo)),
  );
  return { child, port: address.port };
}
