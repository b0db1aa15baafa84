import { createRequire } from 'node:module';

/** Below this length the bytes are done one by one: setting up a view would cost more. */
const SMALL = 48;

type Unmask = (bytes: Uint8Array, mask: Uint8Array) => void;

/** The native routine of `bufferutil`, where it is installed and built: about four times as fast as the loop below. */
const native = loadNative();

function loadNative(): Unmask | undefined {
  const require = createRequire(import.meta.url);
  try {
    const { unmask } = require('bufferutil') as { unmask: Unmask };
    const { unmask: fallback } = require('bufferutil/fallback') as { unmask: Unmask };
    return unmask === fallback ? undefined : unmask; // its fallback goes byte by byte, which ours does not
  } catch {
    return undefined; // an optional dependency
  }
}

/** The key that leaves a payload as it is. Allowed over TLS only (see PROTOCOL.md, masking). */
export const ZERO_MASK: Uint8Array = new Uint8Array(4);

/**
 * Applies an RFC 6455 mask in place to `bytes[from..to)`; applying it twice restores the bytes.
 *
 * @param phase How many bytes of the same frame came before `from`; only its two lowest bits count.
 */
export function applyMask(bytes: Uint8Array, from: number, to: number, mask: Uint8Array, phase = 0): void {
  const m0 = mask[phase & 3] ?? 0;
  const m1 = mask[(phase + 1) & 3] ?? 0;
  const m2 = mask[(phase + 2) & 3] ?? 0;
  const m3 = mask[(phase + 3) & 3] ?? 0;
  if ((m0 | m1 | m2 | m3) === 0) return;
  if (to - from < SMALL) {
    for (let i = from; i < to; i++) bytes[i] = (bytes[i] as number) ^ (mask[(phase + i - from) & 3] as number);
    return;
  }
  if (native === undefined) {
    maskWords(bytes, from, to, Uint8Array.of(m0, m1, m2, m3));
    return;
  }
  rotated[0] = m0;
  rotated[1] = m1;
  rotated[2] = m2;
  rotated[3] = m3;
  native(bytes.subarray(from, to), rotated);
}

const rotated = new Uint8Array(4);

/** The portable way: four bytes at a time where memory is aligned. `mask` belongs to the byte at `from`. */
export function maskWords(bytes: Uint8Array, from: number, to: number, mask: Uint8Array): void {
  let start = from; // first byte that is aligned to four in the memory behind the view
  while (start < to && ((bytes.byteOffset + start) & 3) !== 0) {
    bytes[start] = (bytes[start] as number) ^ (mask[(start - from) & 3] as number);
    start++;
  }
  const key = new Uint8Array(4);
  for (let i = 0; i < 4; i++) key[i] = mask[(start - from + i) & 3] as number;
  const word = new Uint32Array(key.buffer)[0] as number; // same byte order as the view below, whatever the machine's is
  const count = (to - start) >> 2;
  const words = count === 0 ? [] : new Uint32Array(bytes.buffer, bytes.byteOffset + start, count);
  for (let i = 0; i < count; i++) words[i] = (words[i] as number) ^ word;
  for (let i = start + count * 4; i < to; i++) bytes[i] = (bytes[i] as number) ^ (mask[(i - from) & 3] as number);
}
