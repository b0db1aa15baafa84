import { HEADROOM } from '@culvert/wire';

/** Sizes of what one read can bring; a reader grows into the next one when its reads come full. */
export const SLAB_SIZES = [16 << 10, 64 << 10, 256 << 10] as const;
export type SlabClass = 0 | 1 | 2;

/**
 * How many slabs of each size are kept for reuse: 8 + 8 + 16 MiB a process at most. Enough for 64 bulk transfers: what is
 * allocated anew counts as memory pressure, and V8 answers with collections of the whole heap.
 */
const KEPT = [512, 128, 64] as const;

const free: [Buffer[], Buffer[], Buffer[]] = [[], [], []];

/** A buffer of HEADROOM bytes for a frame header and then the size of the class. Its content is undefined. */
export function takeSlab(size: SlabClass): Buffer {
  return free[size].pop() ?? Buffer.allocUnsafeSlow(HEADROOM + SLAB_SIZES[size]);
}

/** Gives a slab back. Only its owner may, once, and only when no write that has not been flushed refers to it. */
export function giveSlab(slab: Buffer): void {
  const size = SLAB_SIZES.findIndex((bytes) => bytes === slab.length - HEADROOM);
  if (size < 0) return;
  const list = free[size as SlabClass];
  if (list.length < KEPT[size as SlabClass]) list.push(slab);
}

/** Free slabs per size, for tests. */
export function freeSlabs(): number[] {
  return free.map((list) => list.length);
}
