import type { Limits } from '@culvert/contracts';
import type { Visitor } from './device.ts';
import type { Tenures } from './tenures.ts';

/** A visitor is found to be silent up to this much later. */
const LOOK_MS = 2_000;

/**
 * Ends visitors that have moved no byte in either direction for VISITOR_IDLE_MS, or at tcp endpoints, operators' connections
 * included, for as long as the device's policy says. Their bytes are compared between two looks: nothing is done for a byte.
 */
export function watchIdle(tenures: Tenures, { VISITOR_IDLE_MS }: Limits): NodeJS.Timeout {
  const seen = new WeakMap<Visitor, { moved: number; at: number }>();
  const look = (): void => {
    const now = performance.now();
    for (const { visitors, policy } of tenures.devices()) {
      for (const visitor of visitors) {
        const byEdge = visitor.address === undefined && visitor.operator === undefined;
        const idleMs = (byEdge ? undefined : policy.idleMs) ?? VISITOR_IDLE_MS;
        if (visitor.running === undefined) continue;
        const { toDevice, toVisitor } = visitor.running.moved;
        const moved = toDevice + toVisitor;
        const before = seen.get(visitor);
        if (before === undefined || before.moved !== moved) seen.set(visitor, { moved, at: now });
        else if (now - before.at >= idleMs) visitor.end('idle_timeout');
      }
    }
  };
  return setInterval(look, Math.min(LOOK_MS, Math.ceil(VISITOR_IDLE_MS / 4)));
}
