import { randomFillSync } from 'node:crypto';
import { ZERO_MASK } from '@culvert/wire';

/** Gives the mask key of the next frame; undefined for a server's frames. Use it before the next call. */
export type MaskSource = () => Uint8Array | undefined;

const pool = new Uint8Array(4096);
let used = pool.length;

function randomMask(): Uint8Array {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += 4;
  return pool.subarray(used - 4, used);
}

/** `random` over plain ws, as RFC 6455 demands; `zero` over TLS, where it guards nothing and costs nothing. */
export function maskSource(role: 'client' | 'server', mask: 'random' | 'zero' = 'random'): MaskSource {
  if (role === 'server') return () => undefined;
  return mask === 'zero' ? () => ZERO_MASK : randomMask;
}
