import { type CommandReply, errorOfRefusal } from '@culvert/bus';
import { CulvertError, type Endpoint, type Lease, type PortSpec } from '@culvert/contracts';
import type { ConfirmResult, Registered, Tenure } from '@culvert/lease-store';
import { bindOfTenure, recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';
import { createHostLabel } from './hosts.ts';
import { reservedHosts } from './reserved-hosts.ts';

/** A tenure that has begun. */
export interface Begun {
  device: string;
  epoch: number;
  tenure: Tenure;
  ports: readonly PortSpec[];
  /** The lease as it stood when the tenure began. */
  lease: Lease | null;
  /** What the registry said of the device then. */
  registered: Registered;
  /** performance.now() at which the answer must be out. */
  until: number;
}

type Grant = Extract<CommandReply<'lease.acquire'>, { ok: true }>;
type Outcome = { verdict: 'done'; grant: Grant; reason: string } | { verdict: 'lost'; boot: string };

/** Rounds of bind and confirm: ports in foreign hands and taken host names are replaced in the next. */
const ROUNDS = 4;
const UNDO_MS = 1_500;
const RETRY_AFTER_MS = 5_000;

/**
 * Sets a begun tenure up: ports, names, bind, confirm. When it fails, everything is as it was before.
 * @throws CulvertError `ports_exhausted` or `unavailable`
 */
export async function setUp(begun: Begun, deps: ManagerDeps): Promise<Outcome> {
  const { device, epoch, tenure, lease } = begun;
  let bound: string | undefined;
  try {
    const reserved = await reservedHosts(device, deps); // read after the beginning: from then on nobody renames
    let places = await place(
      begun,
      begun.ports.map((spec) => keep(spec, lease, reserved.get(spec.port), deps)),
      lease?.listener ?? null,
      [],
      deps,
    );
    for (let round = 0; round < ROUNDS; round++) {
      const { listener, endpoints } = places;
      const record = await recordOf(deps.store, listener);
      if (record === undefined) throw new CulvertError('unavailable', `${listener}, which has the public ports, is away`);

      bound = listener;
      const mode = lease !== null && tenure.boot !== '' && tenure.boot === lease.boot ? 'carry' : 'replace';
      const reply = await deps.bus.requestOf(listener, 'listener.bind', bindOfTenure(begun, endpoints, mode), {
        timeoutMs: timeLeft(begun, deps),
      });
      if (!reply.ok) {
        const failed = reply.code === 'unavailable' ? (reply.failed ?? []) : [];
        if (failed.length === 0) throw new CulvertError('unavailable', `${listener} does not bind: ${reply.message}`);
        deps.log.warn({ event: 'ports.unusable', device, epoch, listener, ports: failed });
        deps.metrics.unusablePorts.inc({ listener }, failed.length);
        const without = endpoints.map(({ public_port, ...rest }) =>
          failed.includes(public_port) ? rest : { ...rest, public_port },
        );
        places = await place(begun, without, listener, failed, deps);
        continue;
      }

      const routeHost = record.host ?? '127.0.0.1';
      const confirmed = await deps.store.leases.confirm(device, { epoch, listener, endpoints, routeHost });
      if (confirmed.verdict === 'ok') {
        endFormer(begun, confirmed, deps);
        const resumed = confirmed.former.state !== null;
        const direct = reply.direct === undefined ? {} : { direct: reply.direct };
        const grant: Grant = { ok: true, epoch, resumed, grace_ms: deps.limits.GRACE_MS, listener, endpoints, ...direct };
        return { verdict: 'done', grant, reason: confirmed.reason };
      }
      if (confirmed.verdict === 'stale') {
        await undo(begun, bound, deps);
        return { verdict: 'lost', boot: confirmed.boot };
      }
      if (confirmed.verdict === 'ports_lost') throw new CulvertError('unavailable', 'the reservation of ports has run out');
      const { host } = confirmed;
      places = { listener, endpoints: endpoints.map((one) => (one.host === host ? withHost(one, deps) : one)) };
    }
    throw new CulvertError('unavailable', 'no ports that can be bound were found');
  } catch (error) {
    await undo(begun, bound, deps);
    if (error instanceof CulvertError && (error.code === 'ports_exhausted' || error.code === 'recovering')) throw error;
    const message = error instanceof Error ? error.message : String(error);
    throw new CulvertError('unavailable', message, { cause: error, retryAfterMs: RETRY_AFTER_MS });
  }
}

/** An endpoint on its way: what it has of its public side so far. */
type Draft = PortSpec & { host?: string; public_port?: number };

/** What the lease has of it, under the label that was reserved for it if one was. */
function keep(spec: PortSpec, lease: Lease | null, label: string | undefined, { domain }: ManagerDeps): Draft {
  const kept: Draft = lease?.endpoints.find(({ port, scheme }) => port === spec.port && scheme === spec.scheme) ?? spec;
  return label === undefined || spec.scheme === 'tcp' ? kept : { ...kept, host: `${label}.${domain}` };
}

const withHost = <T extends PortSpec>(spec: T, { domain }: ManagerDeps): T & { host: string } => ({
  ...spec,
  host: `${createHostLabel()}.${domain}`,
});

/** Gives every draft what it lacks: a public port of the listener, and a host name where the edge serves it. */
async function place(
  { device, epoch, until }: Begun,
  drafts: Draft[],
  listener: string | null,
  unusable: number[],
  deps: ManagerDeps,
): Promise<{ listener: string; endpoints: Endpoint[] }> {
  const count = drafts.filter(({ public_port }) => public_port === undefined).length;
  let from = listener;
  let fresh: number[] = [];
  if (count > 0 || from === null) {
    const timeoutMs = timeLeft({ until }, deps);
    const reply = await deps.bus.request('port.allocate', { device, epoch, count, listener, unusable }, { timeoutMs });
    if (!reply.ok) throw errorOfRefusal(reply);
    ({ listener: from, ports: fresh } = reply);
  }
  const endpoints = drafts.map((draft): Endpoint => {
    const public_port = draft.public_port ?? fresh.shift() ?? 0;
    const named = draft.scheme === 'tcp' || draft.host !== undefined ? draft : withHost(draft, deps);
    return { ...named, public_port };
  });
  return { listener: from, endpoints };
}

/** Tells the connection whose tenure has just ended why; best effort, for its epoch ends it anyway. */
function endFormer({ device, lease }: Begun, { reason, former }: ConfirmResult & { verdict: 'ok' }, deps: ManagerDeps): void {
  if (former.state !== 'held' || lease === null) return;
  const [code, message] =
    reason === 'moved' ? ['moved', 'the agent goes on with a newer connection'] : ['superseded', 'another connection took over'];
  deps.bus.requestOf(former.ingress, 'ingress.close', { device, epoch: former.epoch, code, message }).catch((err: Error) => {
    deps.log.debug({ event: 'former.not_told', device, epoch: former.epoch, ingress: former.ingress, err: err.message });
  });
}

/** The listener forgets the tenure first, then its ports return, then the listener hears what stands instead. */
async function undo({ device, epoch, lease }: Begun, bound: string | undefined, deps: ManagerDeps): Promise<void> {
  try {
    if (bound !== undefined) {
      await deps.bus.requestOf(bound, 'listener.unbind', { device, epoch }, { timeoutMs: UNDO_MS }).catch(() => {});
    }
    await deps.store.leases.abandon(device, epoch);
  } catch (err) {
    // The tenure falls back by itself when TENURE_CONFIRM_MS is over; the sweep tells the listener then.
    deps.log.warn({ event: 'tenure.not_abandoned', device, epoch, err });
  }
  const listener = bound ?? lease?.listener;
  if (bound !== undefined && listener !== undefined) deps.tellers.tell(device, listener, epoch);
}

function timeLeft({ until }: Pick<Begun, 'until'>, { limits }: ManagerDeps): number {
  const left = until - performance.now();
  if (left <= 0) throw new CulvertError('unavailable', 'the time for an acquire is over');
  return Math.min(left, limits.COMMAND_MS);
}
