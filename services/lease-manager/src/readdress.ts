import type { Lease } from '@culvert/contracts';
import { recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';

/**
 * A listener that is started again may stand at another address, as a container does, while the routes of its leases still
 * lead to the former one. It asks for its leases at every start and every minute: that is when they are looked at.
 */
export async function readdress(listener: string, leases: readonly Lease[], { store, log }: ManagerDeps): Promise<void> {
  const record = await recordOf(store, listener);
  if (record?.host === undefined) return; // gone, or no listener: its routes wait for the next one
  const routes = await store.leases.readdress(leases, listener, record.host);
  if (routes > 0) log.warn({ event: 'routes.readdressed', listener, host: record.host, routes });
}
