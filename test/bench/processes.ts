import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { freePort } from '../harness/servers.ts';

/** Visitors that come faster than those of any device would: none of them shall be refused. */
export const UNBOUNDED = {
  CULVERT_LIMIT_NEW_VISITORS_PER_DEVICE: '1000000',
  CULVERT_LIMIT_EDGE_REQUESTS_PER_DEVICE: '1000000',
  CULVERT_LIMIT_EDGE_REQUESTS_PER_ADDRESS: '1000000',
};

/** Settings of a stack whose agents dial their transfers at the listener, past the edge; with TLS, the listener ends it. */
export async function published(tls = false): Promise<Record<string, string>> {
  const port = String(await freePort());
  return { CULVERT_TRANSFER_PORT: port, CULVERT_TRANSFER_URL: tls ? `wss://localhost:${port}` : `ws://127.0.0.1:${port}` };
}

/** All descendants of a process. */
export function childPids(parent: number): number[] {
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue;
    try {
      const stat = readFileSync(`/proc/${entry}/stat`, 'latin1');
      parents.set(Number(entry), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // ended while we looked
    }
  }
  const found: number[] = [];
  const look = (pid: number): void => {
    for (const [child, of] of parents) {
      if (of === pid) {
        found.push(child);
        look(child);
      }
    }
  };
  look(parent);
  return found;
}

export async function waitForPort(port: number, deadlineMs = 10_000): Promise<void> {
  const until = Date.now() + deadlineMs;
  for (;;) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = net.connect({ host: '127.0.0.1', port });
      socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
      socket.on('connect', () => socket.destroy());
    });
    if (open) return;
    if (Date.now() > until) throw new Error(`nothing listens on port ${port}`);
    await new Promise((done) => setTimeout(done, 50));
  }
}
