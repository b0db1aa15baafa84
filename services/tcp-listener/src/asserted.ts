import type { CommandRequest } from '@culvert/bus';
import type { Device } from './device.ts';

type Asserted = CommandRequest<'lease.reassert'>['leases'][number];

/** What this listener can say of a lease that the store may have lost; nothing when the device is not bound here, or only stood in for. */
export function assertedOf({ tenure }: Device, listener: string): Asserted[] {
  if (tenure === undefined || tenure.ports.length === 0 || tenure.stand_in?.here === true) return [];
  const { device, epoch, rev, state, since, ingress, ports, warm, transfers, max_frame, token_digests } = tenure;
  return [
    {
      ...{ device, epoch, rev, state, since, ingress, listener, warm, transfers, max_frame },
      ...{ control: '', boot: '', remote: '' },
      endpoints: ports,
      token_digest: token_digests[0] ?? null,
    },
  ];
}
