import type { Socket } from 'node:net';
import type { Limits } from '@culvert/contracts';
import type { InstanceRegistration, Logger } from '@culvert/service-kit';
import type { PublicPorts } from './public-ports.ts';
import type { Tenures } from './tenures.ts';

const POLL_MS = 50;
/** From the last accept of the edge to the exit, at most: with the restart it fits into EDGE_RETRY_MS. */
const LAST_MS = 2_000;
/** A connection of the edge on which nothing moved for this long carries no request any more. */
const QUIET_MS = 300;

/**
 * Leaves the set and accepts nobody any more at tcp endpoints. The edge is still served, since names that cannot be moved to
 * another listener would be away for as long as the slowest visitor takes; its ports close last, for the moment of the restart,
 * in which it tries again. Who was here at the beginning may finish within WIND_DOWN_MS; the rest is cut.
 */
export async function windDown(deps: {
  registration: InstanceRegistration;
  ports: PublicPorts;
  tenures: Tenures;
  limits: Limits;
  log: Logger;
}): Promise<void> {
  const { limits, log, ports, registration, tenures } = deps;
  await registration.windDown().catch((err: Error) => log.warn({ event: 'wind_down.store_away', err: err.message }));
  ports.closeAll('tcp');
  const first = [...ports.sockets('tcp'), ...ports.sockets('edge')];
  const lastMs = Math.min(LAST_MS, limits.WIND_DOWN_MS / 2);
  await until(() => first.every((socket) => socket.destroyed), limits.WIND_DOWN_MS - lastMs);
  ports.closeAll('edge');
  const quiet = new Quiet();
  await until(() => ports.sockets('tcp').length === 0 && ports.sockets('edge').every((socket) => quiet.is(socket)), lastMs);
  let cut = 0;
  for (const device of tenures.devices()) cut += device.cut(Number.MAX_SAFE_INTEGER, 'wind_down');
  await until(() => ports.sockets('tcp').length + ports.sockets('edge').length === 0, limits.CLOSE_MS);
  log.info({ event: 'wind_down.done', cut });
}

async function until(done: () => boolean, ms: number): Promise<void> {
  const end = performance.now() + ms;
  while (!done() && performance.now() < end) await new Promise((resume) => setTimeout(resume, POLL_MS));
}

/** Which sockets have been quiet since the first look at them. */
class Quiet {
  readonly #seen = new WeakMap<Socket, { bytes: number; since: number }>();

  is(socket: Socket): boolean {
    const bytes = socket.bytesRead + socket.bytesWritten;
    const now = performance.now();
    const seen = this.#seen.get(socket);
    if (seen?.bytes === bytes) return now - seen.since >= QUIET_MS;
    this.#seen.set(socket, { bytes, since: now });
    return false;
  }
}
