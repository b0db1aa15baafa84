import type { RecordRef } from '@culvert/lease-store';
import { acquire } from './acquire.ts';
import { addDevice } from './add-device.ts';
import { authenticate } from './authenticate.ts';
import { registeredOf } from './binding.ts';
import type { ManagerDeps } from './deps.ts';
import { listDevices, showDevice } from './devices.ts';
import { enrol } from './enrol.ts';
import { fitPage } from './page.ts';
import { lostRightsOf } from './page-cuts.ts';
import { tellPolicy } from './policy.ts';
import { readdress } from './readdress.ts';
import { reassert } from './reassert.ts';
import { release } from './release.ts';
import { setHost } from './reserved-hosts.ts';
import { revokeDevice, revokeLease } from './revoke.ts';
import { rotateDevice } from './rotate.ts';
import { reportUsage } from './usage.ts';

const PAGE = 100;

/** Serves lease.* and device.*, shared with the other lease-managers. */
export async function serveCommands(version: string, deps: ManagerDeps): Promise<void> {
  const { store } = deps;
  await deps.bus.serve(version, {
    'lease.acquire': (request) => acquire(request, deps),
    'lease.release': (request) => release(request, deps),
    'usage.report': (request) => reportUsage(request, store),
    'usage.get': async ({ device, days }) => ({ ok: true, days: await store.usage.of(device, days, Date.now()) }),
    'lease.get': async ({ device }) => ({ ok: true, lease: (await store.leases.get(device)).lease }),
    'lease.list': async ({ cursor, limit, listener }) => {
      const page = await store.leases.list({ cursor, limit: limit ?? PAGE, listener });
      if (listener !== undefined)
        await readdress(
          listener,
          page.leases.map(({ lease }) => lease),
          deps,
        ); // it compares itself
      const all = page.leases.map(({ lease, ...known }) => ({
        ...{ lease, token_digest: known.tokenDigest },
        ...registeredOf(known),
      }));
      const fitting = fitPage(all, page.cursor, ({ lease }) => lease.device);
      return { ok: true, leases: fitting.items, cursor: fitting.cursor, store: page.store };
    },
    'lease.reassert': (request) => reassert(request, deps),
    'lease.revoke': async ({ device }) => ({ ok: true, revoked: await revokeLease(device, deps) }),
    'device.auth': async ({ device, token_digest }) => {
      await authenticate(device, token_digest, deps);
      return { ok: true };
    },
    'device.add': (request) => addDevice(request, deps),
    'device.list': (request) => listDevices(request, deps),
    'device.show': ({ device }) => showDevice(device, deps),
    'enrolment.use': (request) => enrol(request, deps),
    'record.get': (request) => deps.records.get(request),
    'record.list': (request) => deps.records.list(request),
    'record.put': async (request) => {
      const reply = await deps.records.put(request);
      if (request.collection === 'policy') await tellPolicy(request.id, deps);
      if (request.collection === 'access') await endLostRights(request, deps); // a new grant takes no rights away
      return reply;
    },
    'record.delete': async (request) => {
      const reply = await deps.records.delete(request);
      if (request.collection === 'policy') await tellPolicy(request.id, deps);
      await endLostRights(request, deps);
      return reply;
    },
    'device.revoke': async ({ device }) => ({ ok: true, missing: await revokeDevice(device, deps) }),
    'device.host': (request) => setHost(request, deps),
    'device.rotate': (request) => rotateDevice(request, deps),
  });
}

async function endLostRights({ collection, id }: RecordRef, { cuts }: ManagerDeps): Promise<void> {
  const lost = lostRightsOf(collection, id);
  if (lost !== undefined) await cuts.cut(lost.device, lost.port);
}
