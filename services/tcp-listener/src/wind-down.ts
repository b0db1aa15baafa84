import type { Limits } from '@culvert/contracts';
import type { InstanceRegistration, Logger } from '@culvert/service-kit';
import type { PublicPorts } from './public-ports.ts';
import type { Tenures } from './tenures.ts';

const POLL_MS = 50;

/** Leaves the set, accepts nobody any more, and lets running visitors finish, at most WIND_DOWN_MS; the rest is cut. */
export async function windDown(deps: {
  registration: InstanceRegistration;
  ports: PublicPorts;
  tenures: Tenures;
  limits: Limits;
  log: Logger;
}): Promise<void> {
  const { limits, log, ports, registration, tenures } = deps;
  await registration.windDown().catch((err: Error) => log.warn({ event: 'wind_down.store_away', err: err.message }));
  ports.closeAll();
  const until = Date.now() + limits.WIND_DOWN_MS;
  const open = (): number => {
    let count = 0;
    for (const device of tenures.devices()) count += device.visitors.size;
    return count;
  };
  while (open() > 0 && Date.now() < until) await new Promise((done) => setTimeout(done, POLL_MS));
  let cut = 0;
  for (const device of tenures.devices()) cut += device.cut(Number.MAX_SAFE_INTEGER, 'wind_down');
  const gone = Date.now() + limits.CLOSE_MS;
  while (open() > 0 && Date.now() < gone) await new Promise((done) => setTimeout(done, POLL_MS));
  log.info({ event: 'wind_down.done', cut });
}
