import { createServer } from 'node:net';
import { claim, disclaim } from '../../deploy/local/src/claims.ts';

/** Blocks are taken from here; below the range from which systems take the ports of outgoing connections. */
const FIRST_PORT = 10_000;
const LAST_PORT = 32_000;
const BLOCK = 100;

export interface PortBlock {
  first: number;
  last: number;
  release(): void;
}

/** `width` ports in a row, claimed, so that test files that run at the same time never share one. */
export async function reservePorts(width: number): Promise<PortBlock> {
  const blocks = Math.ceil(width / BLOCK);
  const slots = Math.floor((LAST_PORT - FIRST_PORT) / BLOCK) - blocks + 1;
  const offset = Math.floor(Math.random() * slots);
  for (let tried = 0; tried < slots; tried += 1) {
    const first = FIRST_PORT + ((offset + tried) % slots) * BLOCK;
    const names = Array.from({ length: blocks }, (_, at) => `culvert-ports-${first + at * BLOCK}`);
    const taken = names.filter(claim);
    const release = (): void => taken.forEach(disclaim);
    const last = first + width - 1;
    if (taken.length === blocks && (await isFree(first)) && (await isFree(last))) return { first, last, release };
    release();
  }
  throw new Error(`no ${width} free ports in a row were found`);
}

async function isFree(port: number): Promise<boolean> {
  for (const host of ['0.0.0.0', '::']) {
    const server = createServer();
    const code = await new Promise<string | undefined>((resolve) => {
      server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      server.listen({ host, port, exclusive: true, ipv6Only: host === '::' }, () => resolve(undefined));
    });
    await new Promise((done) => server.close(done));
    if (code !== undefined && code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL') return false;
  }
  return true;
}
