import type { CommandReply, CommandRequest } from '@culvert/bus';
import type { ManagerDeps } from './deps.ts';

/** Another token for a device, kept outside of the store as well. Its listener hears of it: transfers may present it at once. */
export async function rotateDevice(
  { device, token_digest, at_once }: CommandRequest<'device.rotate'>,
  { store, kept, tellers }: ManagerDeps,
): Promise<CommandReply<'device.rotate'>> {
  await store.devices.rotate(device, token_digest, at_once === true);
  await kept.keep(device);
  const { lease } = await store.leases.get(device);
  if (lease !== null) tellers.tell(device, lease.listener, lease.epoch);
  return { ok: true };
}
