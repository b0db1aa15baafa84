import type { CommandRequest } from '@culvert/bus';
import type { Tenure } from './control-connection.ts';

/** What this ingress can say of a lease whose connection it has. */
export function assertedOf(tenure: Tenure, ingress: string): CommandRequest<'lease.reassert'>['leases'][number] {
  const { device, epoch, control, boot, remote, since, listener, endpoints, warm, transfers, max_frame, token_digest } = tenure;
  return {
    ...{ device, epoch, control, boot, remote, since, listener, endpoints, warm, transfers, max_frame, token_digest, ingress },
    ...{ rev: 0, state: 'held' }, // how often the listener was told, it says itself
  };
}
