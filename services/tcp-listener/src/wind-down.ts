import type { Limits } from '@culvert/contracts';
import { type InstanceRegistration, type Logger, listInstances, type ServiceContext } from '@culvert/service-kit';
import type { Visitor } from './device.ts';
import type { PublicPorts } from './public-ports.ts';
import type { Tenures } from './tenures.ts';

const POLL_MS = 50;
/** A name that no other listener serves by then stays with us. */
const MOVING_MS = 10_000;
/** From the last accept of the edge to the exit, at most: with the restart it fits into EDGE_RETRY_MS. */
const LAST_MS = 1_000;

/**
 * Leaves the set and accepts nobody any more at tcp endpoints. The edge is still served, since names that no other listener can
 * serve would be away for as long as the slowest visitor takes; its ports close last, for the moment of the restart,
 * in which it tries again. Who was here at the beginning may finish within WIND_DOWN_MS; the rest is cut.
 */
export async function windDown(deps: {
  registration: InstanceRegistration;
  redis: ServiceContext<Record<never, never>>['redis'];
  ports: PublicPorts;
  tenures: Tenures;
  limits: Limits;
  log: Logger;
}): Promise<void> {
  const { limits, log, ports, redis, registration, tenures } = deps;
  const others = await registration
    .windDown()
    .then(() => listInstances(redis, registration.record.service))
    .catch((err: Error) => {
      log.warn({ event: 'wind_down.store_away', err: err.message });
      return [];
    });
  ports.closeAll('tcp');
  const present = (): Set<Visitor> => new Set([...tenures.devices()].flatMap(({ visitors }) => [...visitors]));
  const first = present();
  const lastMs = Math.min(LAST_MS, limits.WIND_DOWN_MS / 2);
  const patientMs = limits.WIND_DOWN_MS - lastMs;
  await Promise.all([
    until(() => [...present()].every((visitor) => !first.has(visitor)), patientMs),
    others.length > 0 ? until(() => !hasNames(tenures), Math.min(MOVING_MS, patientMs)) : undefined,
  ]);
  ports.closeAll('edge');
  await until(() => present().size === 0, lastMs);
  let cut = 0;
  for (const device of tenures.devices()) cut += device.cut(Number.MAX_SAFE_INTEGER, 'wind_down');
  await until(() => present().size === 0, limits.CLOSE_MS);
  log.info({ event: 'wind_down.done', cut });
}

/**
 * Are there names left that only we serve? The lease-manager moves leases that have nothing else, which are then unbound here,
 * and finds a stand-in for the names of the others.
 */
function hasNames(tenures: Tenures): boolean {
  for (const { tenure } of tenures.devices()) {
    if (tenure === undefined || tenure.stand_in !== undefined) continue;
    const names = tenure.ports.filter(({ scheme }) => scheme !== 'tcp').length;
    if (names === tenure.ports.length || (names > 0 && tenure.state !== 'grace')) return true;
  }
  return false;
}

async function until(done: () => boolean, ms: number): Promise<void> {
  const end = performance.now() + ms;
  while (!done() && performance.now() < end) await new Promise((resume) => setTimeout(resume, POLL_MS));
}
