import type { Policy } from '@culvert/bus';
import type { PortSpec } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';

/** What is wrong with the ports that a device asks for; undefined when its policy allows all of them. */
export function faultOfPorts(ports: readonly PortSpec[], policy: Policy | undefined): string | undefined {
  const allowed = policy?.ports;
  if (allowed === undefined) return undefined;
  const refused = ports.filter(
    ({ port, scheme }) => !allowed.some((one) => one === `${scheme}:${port}` || one === `${scheme}:*`),
  );
  if (refused.length === 0) return undefined;
  const asked = refused.map(({ port, scheme }) => `${scheme}:${port}`).join(', ');
  return `the device's policy does not allow ${asked}; expected ${allowed.length === 0 ? 'no ports at all' : `some of ${allowed.join(', ')}`}`;
}

/** A changed policy holds from now on, for visitors who are there as well; for ports from the next connection of the device on. */
export async function tellPolicy(device: string, { store, tellers }: Pick<ManagerDeps, 'store' | 'tellers'>): Promise<void> {
  const { lease } = await store.leases.get(device);
  if (lease !== null) tellers.tell(device, lease.listener, lease.epoch);
}
