import type { Socket } from 'node:net';
import type { AgentProcess, AgentSetup } from '../agent.ts';
import type { Peer, Text } from '../peer.ts';
import type { Bench } from '../suite.ts';
import type { LocalTarget } from '../targets.ts';

export const PORT = 7;

export interface Ready {
  agent: AgentProcess;
  control: Peer;
  target: LocalTarget;
}

/** An agent that offers one tcp port with this target behind it, connected and ready. */
export async function readyAgent(
  bench: Bench,
  serve: (socket: Socket) => void,
  setup: Partial<AgentSetup> = {},
  ready: Text = {},
): Promise<Ready> {
  const target = await bench.target(serve);
  const agent = bench.start({ mappings: [`tcp:${PORT}=${target.address}`], ...setup });
  const control = await bench.server.connected(ready);
  return { agent, control, target };
}

/** Bytes that differ from transfer to transfer and from place to place. */
export function sample(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2_654_435_761) >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}
