import type { CommandRequest } from '@culvert/bus';
import type { Endpoint, Lease } from '@culvert/contracts';
import type { LeaseStore, Tenure } from '@culvert/lease-store';
import type { InstanceRecord } from '@culvert/service-kit';

type Bind = CommandRequest<'listener.bind'>;

/** What a listener is told of a lease that stands. */
export function bindOfLease(lease: Lease, tokenDigest: string | null): Bind {
  const { device, epoch, rev, state, since, ingress, endpoints, warm, transfers, max_frame } = lease;
  return {
    ...{ device, epoch, rev, state, since, ingress, warm, transfers, max_frame },
    ports: endpoints,
    token_digests: tokenDigest === null ? [] : [tokenDigest],
    mode: 'carry',
  };
}

/** What it is told of a tenure that is about to be confirmed. */
export function bindOfTenure(device: string, epoch: number, tenure: Tenure, ports: Endpoint[], mode: Bind['mode']): Bind {
  const { ingress, warm, transfers, max_frame, token_digest } = tenure;
  return {
    ...{ device, epoch, ingress, warm, transfers, max_frame, ports, mode },
    rev: 0,
    state: 'held',
    since: Date.now(),
    token_digests: [token_digest],
  };
}

/** The record of a listener; undefined while it does not live. */
export async function recordOf(store: LeaseStore, id: string): Promise<InstanceRecord | undefined> {
  const text = await store.instances.recordOf(id);
  return text === null ? undefined : (JSON.parse(text) as InstanceRecord);
}
