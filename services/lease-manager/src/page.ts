/** A reply stays well under the 1 MiB that NATS carries in one message. */
const PAGE_BYTES = 600 * 1024;

/**
 * As many of the items as fit into one reply, at least one. The cursor stands after the last of them; it is null only
 * when all fit and nothing comes after.
 */
export function fitPage<T>(
  items: T[],
  cursor: string | null,
  nameOf: (item: T) => string,
): { items: T[]; cursor: string | null } {
  let bytes = 0;
  for (const [i, item] of items.entries()) {
    bytes += Buffer.byteLength(JSON.stringify(item)) + 1;
    const last = items[i - 1];
    if (bytes > PAGE_BYTES && last !== undefined) return { items: items.slice(0, i), cursor: nameOf(last) };
  }
  return { items, cursor };
}
