export type PortRange = readonly [number, number];

/** Which listener has which public ports, as the state folder remembers it. */
export interface PortSplit {
  range: PortRange;
  listeners: Readonly<Record<string, PortRange>>;
}

export interface SplitResult {
  split: PortSplit;
  /** What changed for devices, one sentence each; empty when everything stays. */
  notices: string[];
}

const text = ([first, last]: PortRange): string => `${first}-${last}`;
const sizeOf = ([first, last]: PortRange): number => last - first + 1;

function even(range: PortRange, ids: readonly string[]): Record<string, PortRange> {
  const [first] = range;
  const start = (index: number): number => first + Math.floor((index * sizeOf(range)) / ids.length);
  return Object.fromEntries(ids.map((id, index) => [id, [start(index), start(index + 1) - 1] as const]));
}

/**
 * Splits the range of public ports among the listeners. Listeners keep what they have: one that is not asked for any more
 * keeps its share for its return, and a new one takes the upper half of the largest share. Another range starts afresh.
 */
export function splitPorts(range: PortRange, ids: readonly string[], remembered: PortSplit | undefined): SplitResult {
  if (remembered === undefined) return { split: { range, listeners: even(range, ids) }, notices: [] };
  if (text(remembered.range) !== text(range)) {
    const notice = `public ports were ${text(remembered.range)} and are ${text(range)} now: devices get new ones`;
    return { split: { range, listeners: even(range, ids) }, notices: [notice] };
  }
  const listeners: Record<string, PortRange> = { ...remembered.listeners };
  const notices: string[] = [];
  for (const id of ids) {
    if (listeners[id] !== undefined) continue;
    const [giver, [first, last]] = largest(listeners);
    const middle = first + Math.ceil(sizeOf([first, last]) / 2);
    if (middle > last) {
      // Nobody has two ports left to part with: share everything anew.
      notices.push(`public ports ${text(range)} are split anew among ${ids.length} listeners: devices get new ones`);
      return { split: { range, listeners: even(range, ids) }, notices };
    }
    listeners[giver] = [first, middle - 1];
    listeners[id] = [middle, last];
    notices.push(`${id} takes public ports ${middle}-${last} from ${giver}: devices there get new ones`);
  }
  for (const [id, share] of Object.entries(listeners)) {
    if (!ids.includes(id)) notices.push(`public ports ${text(share)} stay with ${id}, which does not run now`);
  }
  return { split: { range, listeners }, notices };
}

function largest(listeners: Readonly<Record<string, PortRange>>): [string, PortRange] {
  const sorted = Object.entries(listeners).sort(([, a], [, b]) => sizeOf(b) - sizeOf(a));
  return sorted[0] as [string, PortRange];
}
