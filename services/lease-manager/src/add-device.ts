import type { CommandReply, CommandRequest } from '@culvert/bus';
import type { ManagerDeps } from './deps.ts';

/** A device is answered for only once it is kept outside of the store as well; else it is as if nobody had asked. */
export async function addDevice(
  { device, token_digest }: CommandRequest<'device.add'>,
  { store, kept, log }: Pick<ManagerDeps, 'store' | 'kept' | 'log'>,
): Promise<CommandReply<'device.add'>> {
  const added = await store.devices.add(device, token_digest);
  try {
    await kept.keep(device);
  } catch (error) {
    await store.devices
      .remove(device, token_digest)
      .catch((err: Error) => log.error({ event: 'device.not_removed', device, err }));
    throw error;
  }
  return { ok: true, ...added };
}
