import type { CommandReply, CommandRequest } from '@culvert/bus';
import { CulvertError, type Lease } from '@culvert/contracts';
import type { StoredLease, Tenure } from '@culvert/lease-store';
import { authenticate } from './authenticate.ts';
import { policyOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';
import { faultOfPorts } from './policy.ts';
import { holderLives } from './probe.ts';
import { setUp } from './set-up.ts';

type Request = CommandRequest<'lease.acquire'>;
type Grant = Extract<CommandReply<'lease.acquire'>, { ok: true }>;

/** Who loses against another newcomer starts again at the top, this often. */
const TRIES = 5;
/** While another tenure of the device is being set up, it is looked at again after this. */
const BUSY_MS = 100;
/** The asker waits ACQUIRE_MS: our answer, a refusal too, is to reach it before. */
const SPARE_SHARE = 0.1;

/** As much of the device's address is kept; the longest IPv6 one with a zone is shorter. */
const MOST_OF_REMOTE = 128;

/**
 * One acquire, from a device's handshake to its lease:
 *
 *   authenticate → look → held by another? probe → flapping? → begin → ports, names, bind (set-up.ts) → confirm
 *        ^                      | alive: refused    | refused   |
 *        \----- somebody else was faster -----------------------/
 *
 * The lease stays what it was until the confirm; whatever fails before falls back.
 * @throws CulvertError with the code of the refusal.
 */
export async function acquire(request: Request, deps: ManagerDeps): Promise<Grant> {
  const { limits, log, metrics } = deps;
  const startedAt = performance.now();
  const until = startedAt + limits.ACQUIRE_MS * (1 - SPARE_SHARE);
  const { device, ingress, control } = request;
  let outcome = 'internal';
  try {
    const { grant, reason } = await compete(request, until, deps);
    outcome = reason;
    log.info({ event: 'lease.acquired', device, epoch: grant.epoch, outcome, ingress, control, listener: grant.listener });
    return grant;
  } catch (error) {
    if (error instanceof CulvertError) outcome = error.code;
    log.info({ event: 'lease.refused', device, outcome, ingress, control, why: error instanceof Error ? error.message : '' });
    throw error;
  } finally {
    metrics.acquires.inc({ outcome });
    metrics.acquireSeconds.observe((performance.now() - startedAt) / 1000);
  }
}

async function compete(request: Request, until: number, deps: ManagerDeps): Promise<{ grant: Grant; reason: string }> {
  const { device, ports, ...brought } = request;
  const tenure: Tenure = { ...brought, remote: brought.remote.slice(0, MOST_OF_REMOTE) };
  for (let tries = 0; tries < TRIES; ) {
    if (performance.now() > until) break;
    await authenticate(device, request.token_digest, deps);
    const found = await lookAt(device, deps);
    const { lease } = found;
    const fault = faultOfPorts(ports, policyOf(found.registered));
    if (fault !== undefined) throw new CulvertError('forbidden', fault);
    if (lease?.state === 'held' && !isSameAgent(lease, request)) await challenge(lease, found, request, deps);

    await damp(request, deps);

    const begun = await deps.store.leases.begin(device, tenure, {
      expectedEpoch: lease?.epoch ?? 0,
      mayBeHeld: lease?.state === 'held',
    });
    if (begun.verdict === 'busy') await new Promise((done) => setTimeout(done, BUSY_MS));
    else tries += 1;
    if (begun.verdict === 'unauthorized') throw new CulvertError('unauthorized');
    if (begun.verdict !== 'ok') continue;

    const result = await setUp({ device, epoch: begun.epoch, tenure, ports, lease, registered: found.registered, until }, deps);
    if (result.verdict === 'done') return result;
    if (request.boot !== '' && result.boot === request.boot) {
      // Never take it back from a newer connection of the same agent: the two would go on for ever.
      throw new CulvertError('name_in_use', 'a newer connection of the same agent has come between');
    }
  }
  throw new CulvertError('unavailable', `${device} is being set up by others`, { retryAfterMs: 2_000 });
}

/** What stands now: what is overdue, but not swept yet, is done first. */
async function lookAt(device: string, { store }: ManagerDeps): Promise<StoredLease> {
  const found = await store.leases.get(device);
  if (found.lease?.state !== 'grace' || found.lease.due === null || found.lease.due > Date.now()) return found;
  await store.leases.advance(device);
  return store.leases.get(device);
}

const isSameAgent = (lease: Lease, { boot }: Request): boolean => boot !== '' && lease.boot === boot;

/** Refuses the newcomer while the holder lives. */
async function challenge(lease: Lease, found: StoredLease, request: Request, deps: ManagerDeps): Promise<void> {
  if (!(await holderLives(lease, found.ingressIncarnation, deps))) return;
  await deps.store.leases.refuse(lease.device, lease.epoch, 'name_in_use', request.remote);
  throw new CulvertError('name_in_use', `${lease.device} is connected from ${lease.remote || 'elsewhere'}`);
}

/** Slows down those that oust each other in turn, so that whoever holds the name now can be reached for a while. */
async function damp({ device, boot, remote }: Request, { store, log }: ManagerDeps): Promise<void> {
  const waitMs = await store.leases.damp(device, boot, remote);
  if (waitMs === 0) return;
  log.warn({ event: 'device.flapping', device, remote, waitMs });
  throw new CulvertError('rate_limited', `two agents use the name ${device} in turn; it is the other's for now`, {
    retryAfterMs: waitMs,
  });
}
