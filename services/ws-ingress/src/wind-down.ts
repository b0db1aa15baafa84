import type { Limits } from '@culvert/contracts';
import { type InstanceRegistration, type Logger, listInstances, type ServiceContext } from '@culvert/service-kit';
import type { Connections } from './connections.ts';

/** Devices are asked to move at this pace, so that the other instances are not stormed. */
const MOVES_PER_SECOND = 500;
const SLOT_MIN_MS = 1_000;
const POLL_MS = 50;

/** Within how many milliseconds so many devices are asked to move: half of WIND_DOWN_MS at most, the rest is for those that are slow. */
const slotFor = (devices: number, limits: Limits): number =>
  Math.round(Math.min(limits.WIND_DOWN_MS / 2, Math.max(SLOT_MIN_MS, (devices / MOVES_PER_SECOND) * 1000)));

/** The workers of these edges are about to end: devices that came through them are asked to come again, through those that follow. */
export function leaveEdges(connections: Connections, generations: ReadonlySet<string>, limits: Limits): void {
  const leaving = connections.all().filter(({ tenure }) => generations.has(tenure.generation));
  for (const connection of leaving) connection.windDown(slotFor(leaving.length, limits));
}

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
    for (const connection of connections.all()) connection.windDown(slotFor(asked, limits));
    const until = Date.now() + limits.WIND_DOWN_MS;
    while (connections.size > 0 && Date.now() < until) await new Promise((done) => setTimeout(done, POLL_MS));
  }
  const rest = connections.all();
  for (const connection of rest) connection.close('wind_down', 'this instance is stopping', 'ingress_gone');
  await Promise.all(rest.map((connection) => connection.closed()));
  log.info({ event: 'wind_down.done', asked, moved: asked - rest.length });
}
