import { randomFillSync } from 'node:crypto';

/** Random bytes are taken in bulk: a call for a few of them costs as much. */
const pool = Buffer.alloc(4096);
let used = pool.length;

/** base64url of so many random bytes, at most 64; each byte is given out once. */
export function randomId(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += bytes;
  return pool.toString('base64url', used - bytes, used);
}
