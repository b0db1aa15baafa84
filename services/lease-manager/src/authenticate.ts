import { CulvertError } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';

/** @throws CulvertError `unauthorized`, or `forbidden` for the valid token of another device. */
export async function authenticate(device: string, digest: string, { store }: Pick<ManagerDeps, 'store'>): Promise<void> {
  const verdict = await store.devices.authenticate(device, digest);
  if (verdict !== 'ok') throw new CulvertError(verdict);
}
