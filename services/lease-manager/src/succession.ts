import { jetstreamManager } from '@nats-io/jetstream';
import type { ManagerDeps } from './deps.ts';
import { lastSent } from './last-sent.ts';
import { ensureStreams } from './streams.ts';

/**
 * After a failover or a restart of Redis: compares what was sent with what the primary has, and takes it into service.
 * @throws whatever Redis or NATS fails with; the next sweep tries again, and until then no lease changes.
 */
export async function settlePrimary({ store, bus, limits, log }: ManagerDeps): Promise<void> {
  const replid = await store.succession.unsettled();
  if (replid === undefined) return;
  const jsm = await jetstreamManager(bus.nc);
  await ensureStreams(jsm, limits);
  const { position } = await lastSent(jsm, store);
  const verdict = await store.succession.settle(replid, position);
  if (verdict === 'lost') log.error({ event: 'store.writes_lost', sent: position });
  else log.info({ event: 'store.primary', replid, verdict, sent: position });
}
