import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Driver } from './driver.ts';
import { startTunnel } from './hops/pair.ts';

const require = createRequire(import.meta.url);
const versionOf = (name: string): string =>
  (JSON.parse(readFileSync(require.resolve(`${name}/package.json`), 'utf8')) as { version: string }).version;

/** What most tunnels written for Node do: the `ws` package, its streams, `pipe()`, a WebSocket per visitor. */
export const wsStreams: Driver = {
  name: 'ws streams, two hops',
  unavailable: async () => undefined,
  start: async (originPort) => ({
    ...(await startTunnel('./ws-near.ts', './ws-far.ts', originPort)),
    version: `ws ${versionOf('ws')}, bufferutil ${versionOf('bufferutil')}`,
  }),
};
