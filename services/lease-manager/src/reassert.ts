import type { CommandReply, CommandRequest } from '@culvert/bus';
import { recordOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';
import { tellDevice } from './move-lease.ts';
import { inParallel } from './parallel.ts';

type Request = CommandRequest<'lease.reassert'>;

/**
 * An instance says what it holds. The store takes over what it has lost and tells what is not the instance's any more.
 * @throws CulvertError `recovering` while the registry is not loaded yet.
 */
export async function reassert(request: Request, deps: ManagerDeps): Promise<CommandReply<'lease.reassert'>> {
  const { store, tellers, log } = deps;
  const { from, instance, leases } = request;
  // Before the rest: should the store be lost once more meanwhile, the asker sees another name and says it all again.
  const { incarnation, alive } = await store.recovery.life();
  const hosts = new Map<string, string>();
  for (const listener of new Set(leases.map((lease) => lease.listener))) {
    hosts.set(listener, (await recordOf(store, listener))?.host ?? '127.0.0.1');
  }
  const lost: { device: string; epoch: number; code: string }[] = [];
  let restored = 0;
  await inParallel(leases, async (said) => {
    const { device, epoch, listener } = said;
    const restore = () => store.leases.restore(said, from, hosts.get(listener) ?? '127.0.0.1');
    let result = await restore();
    if (result.verdict === 'lost' && result.over !== undefined && alive) {
      const { over } = result;
      if (await store.leases.endOver(over.device, over.epoch)) {
        log.warn({ event: 'lease.over', ...over, by: device });
        tellers.tell(over.device, listener, over.epoch);
        result = await restore();
      }
    }
    if (result.verdict === 'lost') lost.push({ device, epoch, code: result.code });
    if (result.verdict === 'restored') {
      restored += 1;
      const { displaced } = result;
      if (displaced.epoch > 0) {
        const close = { device, epoch: displaced.epoch, code: 'lease_lost', message: 'a newer tenure of this name is known' };
        deps.bus.requestOf(displaced.ingress, 'ingress.close', close).catch(() => {}); // it hears so when it re-asserts
      }
    }
    if (result.verdict === 'ok' && result.moved && alive) {
      const { lease } = await store.leases.get(device);
      if (lease?.epoch === epoch) void tellDevice(lease, deps);
    }
    // While the store is rebuilt nobody is told anything: every listener compares afterwards.
    const tell = result.verdict === 'ok' ? result.tell : result.verdict === 'restored' || from === 'listener';
    if (alive && tell) tellers.tell(device, from === 'listener' ? instance : listener, epoch);
  });
  if (restored > 0 || lost.length > 0) {
    log.info({ event: 'leases.reasserted', from, instance, leases: leases.length, restored, lost: lost.length, alive });
  }
  return { ok: true, store: incarnation, lost };
}
