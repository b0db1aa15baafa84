import type { CommandReply, CommandRequest } from '@culvert/bus';
import { CulvertError, DISCONNECT_REASONS, type DisconnectReason } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';

const isReason = (text: string): text is DisconnectReason => Object.hasOwn(DISCONNECT_REASONS, text);

/** A control connection is over. Its listener is told of what the lease is now: reconnecting, or in grace. */
export async function release(
  request: CommandRequest<'lease.release'>,
  deps: ManagerDeps,
): Promise<CommandReply<'lease.release'>> {
  const { device, epoch, control, reason } = request;
  if (!isReason(reason)) {
    const known = Object.keys(DISCONNECT_REASONS).join(', ');
    throw new CulvertError('bad_request', `reason ${JSON.stringify(reason)} is not known; expected one of ${known}`);
  }
  const result = await deps.store.leases.release(device, epoch, control, reason);
  if (result.verdict === 'stale') throw new CulvertError('lease_lost', `${device} is not held by this connection`);
  const { lease } = await deps.store.leases.get(device);
  // A repeated release tells again as well: the first may have died between its two steps.
  if (lease?.epoch === epoch) deps.tellers.tell(device, lease.listener, epoch);
  if (result.verdict === 'ok') deps.log.info({ event: 'lease.released', device, epoch, reason, state: result.state });
  return { ok: true, state: result.state };
}
