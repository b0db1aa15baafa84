import type { Limits } from '@culvert/contracts';
import { type InstanceRegistration, type Logger, listInstances, type ServiceContext } from '@culvert/service-kit';
import type { Connections } from './connections.ts';

/** Devices are asked to move at this pace, so that the other instances are not stormed. */
const MOVES_PER_SECOND = 500;
const SLOT_MIN_MS = 1_000;
const POLL_MS = 50;

/**
 * Leaves the edge's set, asks all devices to connect elsewhere, and waits until they have, at most WIND_DOWN_MS. The rest
 * is closed. Without another live instance there is nowhere to move to, so nobody is waited for.
 */
export async function windDown(deps: {
  registration: InstanceRegistration;
  redis: ServiceContext<Record<never, never>>['redis'];
  connections: Connections;
  limits: Limits;
  log: Logger;
}): Promise<void> {
  const { connections, limits, log, redis, registration } = deps;
  const others = await registration
    .windDown()
    .then(() => listInstances(redis, registration.record.service))
    .catch((err: Error) => {
      log.warn({ event: 'wind_down.store_away', err: err.message });
      return [];
    });
  const asked = connections.size;
  if (others.length > 0 && asked > 0) {
    const slot = Math.min(limits.WIND_DOWN_MS / 2, Math.max(SLOT_MIN_MS, (asked / MOVES_PER_SECOND) * 1000));
    for (const connection of connections.all()) connection.windDown(Math.round(slot));
    const until = Date.now() + limits.WIND_DOWN_MS;
    while (connections.size > 0 && Date.now() < until) await new Promise((done) => setTimeout(done, POLL_MS));
  }
  const rest = connections.all();
  for (const connection of rest) connection.close('wind_down', 'this instance is stopping', 'ingress_gone');
  await Promise.all(rest.map((connection) => connection.closed()));
  log.info({ event: 'wind_down.done', asked, moved: asked - rest.length });
}
