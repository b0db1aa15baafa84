import type { CommandReply, CommandRequest } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { LeaseStore } from '@culvert/lease-store';
import type { InstanceRecord, Logger } from '@culvert/service-kit';

export interface AllocateDeps {
  store: LeaseStore;
  log: Logger;
  listeners(): Promise<InstanceRecord[]>;
}

type Listener = InstanceRecord & { ports: readonly [number, number] };

const RETRY_AFTER_MS = 10_000;

/**
 * Reserves ports of one listener for a pending tenure: the one with the most free ports that has enough. Refused as
 * exhausted only when none of the live listeners had them at the moment it was asked.
 * @throws CulvertError `ports_exhausted`, `unavailable` (no such listener lives), `lease_lost` (the tenure is over)
 */
export async function allocate(
  request: CommandRequest<'port.allocate'>,
  deps: AllocateDeps,
): Promise<CommandReply<'port.allocate'>> {
  const { device, epoch, count, listener: wanted, unusable = [] } = request;
  const candidates = (await deps.listeners()).filter(
    (one): one is Listener => one.state === 'live' && one.ports !== undefined && (wanted === null || one.id === wanted),
  );
  if (candidates.length === 0) {
    const whom = wanted === null ? 'no listener' : `listener ${wanted}`;
    throw new CulvertError('unavailable', `${whom} is live`, { retryAfterMs: RETRY_AFTER_MS });
  }
  for (const { id, ports: range } of await byFreePorts(candidates, deps.store)) {
    const result = await deps.store.ports.reserve({ device, epoch, listener: id, range, count, unusable });
    if (result.verdict === 'ok') {
      deps.log.debug({ event: 'ports.reserved', device, epoch, listener: id, ports: result.ports });
      return { ok: true, listener: id, ports: result.ports };
    }
    if (result.verdict === 'stale') throw new CulvertError('lease_lost', `the tenure ${epoch} of ${device} is not pending`);
  }
  for (const { id } of candidates) {
    const said = await deps.store.ports.announceExhausted(id, device);
    if (said) deps.log.warn({ event: 'ports.exhausted', listener: id, device, count });
  }
  const names = candidates.map(({ id }) => id).join(', ');
  throw new CulvertError('ports_exhausted', `${names}: fewer than ${count} free public ports`, { retryAfterMs: RETRY_AFTER_MS });
}

/**
 * Lends ports of the live listener that has the most free ones, other than `except`.
 * @throws CulvertError `unavailable`: none has enough to spare
 */
export async function lend(
  { count, except, ms }: CommandRequest<'port.lend'>,
  { store, listeners }: Pick<AllocateDeps, 'store' | 'listeners'>,
): Promise<CommandReply<'port.lend'>> {
  const others = (await listeners()).filter(
    (one): one is Listener => one.state === 'live' && one.ports !== undefined && one.id !== except,
  );
  for (const { id } of await byFreePorts(others, store)) {
    const ports = await store.ports.lend(id, count, ms);
    if (ports !== null) return { ok: true, listener: id, ports };
  }
  throw new CulvertError('unavailable', `no listener but ${except} has ${count} ports to spare`);
}

async function byFreePorts(listeners: Listener[], store: LeaseStore): Promise<Listener[]> {
  if (listeners.length < 2) return listeners;
  const counted = await Promise.all(listeners.map(async (listener) => ({ listener, free: await store.ports.free(listener.id) })));
  return counted.sort((a, b) => b.free - a.free).map(({ listener }) => listener);
}

/** How the ports of each live listener stand. */
export async function fill({ store, listeners }: Pick<AllocateDeps, 'store' | 'listeners'>): Promise<CommandReply<'port.fill'>> {
  const all: Extract<CommandReply<'port.fill'>, { ok: true }>['listeners'] = [];
  for (const { id: listener, ports } of await listeners()) {
    if (ports !== undefined) all.push({ listener, first: ports[0], last: ports[1], ...(await store.ports.fill(listener)) });
  }
  return { ok: true, listeners: all };
}
