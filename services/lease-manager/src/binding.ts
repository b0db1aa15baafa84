import { type CommandRequest, faultOfRecord, type Policy } from '@culvert/bus';
import type { Endpoint, Lease } from '@culvert/contracts';
import type { LeaseStore, StandIn, StoredLease, Tenure } from '@culvert/lease-store';
import type { InstanceRecord } from '@culvert/service-kit';

type Bind = CommandRequest<'listener.bind'>;

/** What is known of a device beside its lease. */
export type Known = Pick<StoredLease, 'tokenDigest' | 'registered'>;

/** The digests that transfers may present, that of the tenure first, and what the operators allow the device. */
export function registeredOf({ tokenDigest, registered }: Known): Pick<Bind, 'token_digests' | 'policy'> {
  const digests = new Set([...(tokenDigest === null ? [] : [tokenDigest]), ...registered.digests]);
  const policy = policyOf(registered);
  return { token_digests: [...digests].slice(0, 4), ...(policy === undefined ? {} : { policy }) };
}

/** A policy that does not fit its schema (a newer version's) counts as far as it can be read: not at all. */
export function policyOf({ policy }: StoredLease['registered']): Policy | undefined {
  return policy !== null && faultOfRecord('policy', policy) === undefined ? (policy as Policy) : undefined;
}

/** Beyond the time that edges know of: a visitor who came last is to be served. */
const STAND_IN_SLACK_MS = 10_000;

/** What a listener is told that serves the names of a lease for a while, though the lease is another's. */
export function bindOfStandIn(lease: Lease, known: Known, { endpoints, leftMs }: Pick<StandIn, 'endpoints' | 'leftMs'>): Bind {
  return { ...bindOfLease(lease, known), ports: endpoints, stand_in: { here: true, ms: leftMs + STAND_IN_SLACK_MS } };
}

/** What a listener is told of a lease that stands, and is its own. */
export function bindOfLease(lease: Lease, known: Known, standIn?: StandIn): Bind {
  const { device, epoch, rev, state, since, ingress, endpoints, warm, transfers, max_frame } = lease;
  return {
    ...{ device, epoch, rev, state, since, ingress, warm, transfers, max_frame },
    ports: endpoints,
    ...registeredOf(known),
    mode: 'carry',
    ...(standIn === undefined ? {} : { stand_in: { here: false, ms: standIn.leftMs } }),
  };
}

/** What it is told of a tenure that is about to be confirmed. */
export function bindOfTenure(
  { device, epoch, tenure, registered }: { device: string; epoch: number; tenure: Tenure; registered: StoredLease['registered'] },
  ports: Endpoint[],
  mode: Bind['mode'],
): Bind {
  const { ingress, warm, transfers, max_frame, token_digest } = tenure;
  return {
    ...{ device, epoch, ingress, warm, transfers, max_frame, ports, mode },
    rev: 0,
    state: 'held',
    since: Date.now(),
    ...registeredOf({ tokenDigest: token_digest, registered }),
  };
}

/** The record of a listener; undefined while it does not live. */
export async function recordOf(store: LeaseStore, id: string): Promise<InstanceRecord | undefined> {
  const text = await store.instances.recordOf(id);
  return text === null ? undefined : (JSON.parse(text) as InstanceRecord);
}
