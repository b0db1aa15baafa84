import type { Endpoint, Lease, LeaseState } from '@culvert/contracts';
import { keys, leaseKeys, listenerKeys } from './keys.ts';

/** A tenure that waits for its confirm. */
export interface Pending {
  epoch: number;
  /** When it falls back by itself. */
  due: number;
  ingress: string;
  boot: string;
  /** Where ports are reserved; undefined before any are. */
  listener: string | undefined;
}

/** All that is stored under one device's name. */
export interface StoredLease {
  /** Null while there is none, though a first tenure may be pending. */
  lease: Lease | null;
  pending: Pending | null;
  /** Digest of the token that the tenure was begun with; transfers of it present the same. */
  tokenDigest: string | null;
  /** What the registry says of the device now. */
  registered: Registered;
  /** Which start of the ingress holds, or last held, the lease; empty when unknown. */
  ingressIncarnation: string;
  /** That of the lease's next event within its epoch. */
  seq: number;
}

/** What listeners hear of a device beside its lease. */
export interface Registered {
  /** Of its present token, and of the next one if that was issued and not used yet; none when it is revoked. */
  digests: string[];
  /** Its policy, as the operators put it; null when it has none. */
  policy: unknown;
}

type Hash = Record<string, string>;

/** Out of the fields `token_digest`, `next_digest` and `revoked` of the device, and the JSON of its policy. */
export function registeredOf([present, next, revoked]: (string | null)[], policy: string | null): Registered {
  const digests = [present, next].filter((digest) => typeof digest === 'string');
  return { digests: revoked === '1' ? [] : digests, policy: policy === null ? null : (JSON.parse(policy) as unknown) };
}

export function storedLeaseOf(hash: Hash, registered: Registered = { digests: [], policy: null }): StoredLease {
  const pending = hash.pending === undefined ? null : (JSON.parse(hash.pending) as Pending);
  return {
    lease: hash.state === undefined ? null : leaseOf(hash),
    pending: pending && { ...pending, listener: pending.listener },
    tokenDigest: hash.token_digest ?? null,
    registered,
    ingressIncarnation: hash.ingress_incarnation ?? '',
    seq: Number(hash.seq ?? 0),
  };
}

function leaseOf(hash: Hash): Lease {
  const text = (field: string): string => hash[field] ?? '';
  return {
    device: text('device'),
    state: text('state') as LeaseState,
    epoch: Number(hash.epoch),
    rev: Number(hash.rev),
    since: Number(hash.since),
    due: text('due') === '' ? null : Number(hash.due),
    ingress: text('ingress'),
    control: text('control'),
    listener: text('listener'),
    endpoints: JSON.parse(text('endpoints')) as Endpoint[],
    boot: text('boot'),
    remote: text('remote'),
    warm: Number(hash.warm),
    transfers: Number(hash.transfers),
    max_frame: Number(hash.max_frame),
  };
}

export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** True for endpoints that have a route: the edge serves them by host name. */
export const hasRoute = (endpoint: Endpoint): endpoint is Endpoint & { host: string } =>
  endpoint.scheme !== 'tcp' && endpoint.host !== undefined;

/** Every key that a change of this lease may touch; the scripts check that nothing is missing. */
export function keysOf(device: string, { lease, pending }: Pick<StoredLease, 'lease' | 'pending'>): string[] {
  const all = leaseKeys(device);
  if (lease !== null) {
    all.push(...lease.endpoints.filter(hasRoute).map(({ host }) => keys.route(host)));
    all.push(...listenerKeys(lease.listener), keys.leasesOfIngress(lease.ingress));
  }
  if (pending?.listener !== undefined) all.push(...listenerKeys(pending.listener));
  return all;
}

/** A device of the registry. */
export interface DeviceRecord {
  device: string;
  created_at: number;
  revoked: boolean;
}
