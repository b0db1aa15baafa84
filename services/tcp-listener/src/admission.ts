import type { Socket } from 'node:net';
import type { Endpoint, Limits, VisitorOutcome } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import type { ConnEvents } from './conn-events.ts';
import type { Device } from './device.ts';
import { answerHttp } from './http-answer.ts';
import type { ListenerMetrics } from './metrics.ts';
import type { PublicPorts } from './public-ports.ts';

/** Why the device takes nobody from this address now; undefined: the visitor is welcome. Operators have no address. */
export function refusalOf(
  device: Device,
  endpoint: Endpoint,
  address: string | undefined,
  limits: Limits,
): VisitorOutcome | undefined {
  const state = device.tenure?.state;
  if (state === undefined || state === 'grace') return 'device_offline';
  const { policy } = device;
  if (policy.isSpent) return 'budget_spent';
  const tcp = endpoint.scheme === 'tcp' && address !== undefined;
  if (tcp && !policy.allows(endpoint.port, address)) return 'not_allowed';
  const ofAddress = policy.visitorsPerAddress ?? limits.VISITORS_PER_ADDRESS;
  if (tcp && device.visitorsFrom(address) >= ofAddress) return 'busy';
  const most = Math.min(limits.VISITORS_PER_DEVICE, policy.visitors);
  if (device.visitors.size >= most || device.holdsWaiting(limits.VISITORS_WAITING_PER_DEVICE)) return 'busy';
  return policy.takesVisitor(tcp ? limits.NEW_VISITORS_PER_DEVICE : undefined) ? undefined : 'busy';
}

export interface DoorDeps {
  events: ConnEvents;
  metrics: ListenerMetrics;
  limits: Limits;
  log: Logger;
  /** Closes for a while what a flood comes through. */
  ports: Pick<PublicPorts, 'pause'>;
  /** Proves to the edge that an answer is the listener's own. */
  edgeSecret: string;
}

export interface Refused {
  device: Device;
  endpoint: Endpoint;
  outcome: VisitorOutcome;
  /** Who it is, as events say it. */
  visitor: string;
  conn: string;
  /** It came to a public port. */
  door: boolean;
}

/**
 * Ends a visitor of whom nobody else has heard yet. Everyone is counted. The first REFUSALS_PER_DEVICE of a second are told of in
 * an event and a log line, and gone at once. More of them are a flood:
 *
 *   --held for REFUSED_MS, at most REFUSED_HELD_PER_DEVICE--> gone: who comes again and again comes once in that time
 *     \--no room--> gone, and the port is closed for REFUSED_MS; but not on account of those who are not allowed
 */
export async function turnAway(socket: Socket, refused: Refused, deps: DoorDeps): Promise<void> {
  const { device, endpoint, outcome } = refused;
  const { limits } = deps;
  socket.on('error', () => {});
  deps.metrics.visitors.inc({ outcome });
  if (device.tellsRefusal(limits.REFUSALS_PER_DEVICE)) tell(refused, deps);
  else if (refused.door && endpoint.scheme === 'tcp') {
    if (device.heldRefused < limits.REFUSED_HELD_PER_DEVICE) await hold(socket, device, limits.REFUSED_MS);
    else if (outcome !== 'not_allowed') deps.ports.pause(endpoint.public_port, limits.REFUSED_MS);
  }
  if (refused.door) await dismiss(socket, endpoint, outcome, deps);
  socket.destroy();
}

function tell({ device, endpoint, outcome, visitor, conn }: Refused, { events, log }: DoorDeps): void {
  const { port, public_port } = endpoint;
  const about = { epoch: device.tenure?.epoch ?? 0, conn, port, public_port, visitor };
  events.publish('conn.failed', device.name, { ...about, outcome, wait_ms: 0 });
  log.info({ event: 'visitor.closed', device: device.name, ...about, outcome });
}

async function hold(socket: Socket, device: Device, ms: number): Promise<void> {
  device.heldRefused += 1;
  await new Promise<void>((resolve) => {
    const late = setTimeout(resolve, ms);
    socket.once('close', () => {
      clearTimeout(late);
      resolve();
    });
  });
  device.heldRefused -= 1;
}

/** No byte was relayed: an http visitor gets an answer, any other one a reset, so that its client sees a failure. */
export async function dismiss(socket: Socket, endpoint: Endpoint, outcome: VisitorOutcome, deps: DoorDeps): Promise<void> {
  if (endpoint.scheme === 'tcp') socket.resetAndDestroy();
  else await answerHttp(socket, outcome, deps.edgeSecret, deps.limits.CLOSE_MS);
}
