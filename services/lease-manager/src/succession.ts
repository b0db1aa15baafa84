import { jetstreamManager } from '@nats-io/jetstream';
import { catchUp, follow } from './catch-up.ts';
import type { ManagerDeps } from './deps.ts';
import { lastSent } from './last-sent.ts';
import { ensureStreams } from './streams.ts';

/**
 * After a failover or a restart of Redis: brings back what operators were told, compares what was sent with what the primary has,
 * and takes it into service.
 * @throws whatever Redis or NATS fails with; the next sweep tries again, and until then no lease changes.
 */
export async function settlePrimary(deps: ManagerDeps): Promise<void> {
  const { store, bus, limits, log } = deps;
  const replid = await store.succession.unsettled();
  if (replid === undefined) return;
  const jsm = await jetstreamManager(bus.nc);
  await ensureStreams(jsm, limits);
  const caughtUp = await catchUp(deps);
  const { position, foreign } = await lastSent(jsm, store);
  const sent = foreign ? 'foreign' : position;
  const verdict = await store.succession.settle(replid, sent);
  if (verdict === 'lost') log.error({ event: 'store.writes_lost', sent });
  else log.info({ event: 'store.primary', replid, verdict, sent });
  if (verdict !== 'changed') await follow(caughtUp, deps);
}
