import { CulvertError } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';

/**
 * The first use of a device's next token ends the former one. Its copy outside of the store may follow later: at worst both
 * are valid again after a loss of the store.
 * @throws CulvertError `unauthorized`, or `forbidden` for the valid token of another device.
 */
export async function authenticate(
  device: string,
  digest: string,
  { store, kept, log }: Pick<ManagerDeps, 'store' | 'kept' | 'log'>,
): Promise<void> {
  const verdict = await store.devices.authenticate(device, digest);
  if (verdict === 'ok') return;
  if (verdict !== 'next') throw new CulvertError(verdict);
  if (!(await store.devices.promote(device, digest))) return authenticate(device, digest, { store, kept, log });
  log.info({ event: 'device.token_used', device });
  await kept.keep(device).catch((err: Error) => log.warn({ event: 'device.not_kept', device, err }));
}
