import { CulvertError } from '@culvert/contracts';
import { acquire } from './acquire.ts';
import { addDevice } from './add-device.ts';
import { authenticate } from './authenticate.ts';
import type { ManagerDeps } from './deps.ts';
import { fitPage } from './page.ts';
import { readdress } from './readdress.ts';
import { reassert } from './reassert.ts';
import { release } from './release.ts';
import { revokeDevice, revokeLease } from './revoke.ts';

const PAGE = 100;

/** Serves lease.* and device.*, shared with the other lease-managers. */
export async function serveCommands(version: string, deps: ManagerDeps): Promise<void> {
  const { store } = deps;
  await deps.bus.serve(version, {
    'lease.acquire': (request) => acquire(request, deps),
    'lease.release': (request) => release(request, deps),
    'lease.get': async ({ device }) => ({ ok: true, lease: (await store.leases.get(device)).lease }),
    'lease.list': async ({ cursor, limit, listener }) => {
      const page = await store.leases.list({ cursor, limit: limit ?? PAGE, listener });
      if (listener !== undefined)
        await readdress(
          listener,
          page.leases.map(({ lease }) => lease),
          deps,
        ); // it compares itself
      const all = page.leases.map(({ lease, tokenDigest }) => ({ lease, token_digest: tokenDigest }));
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
    'device.list': async ({ cursor, limit }) => {
      const page = await store.devices.list(cursor, limit ?? PAGE);
      const leases = await Promise.all(page.devices.map(({ device }) => store.leases.get(device)));
      const all = page.devices.map((device, i) => ({ ...device, lease: leases[i]?.lease ?? null }));
      const fitting = fitPage(all, page.cursor, ({ device }) => device);
      return { ok: true, devices: fitting.items, cursor: fitting.cursor };
    },
    'device.show': async ({ device }) => {
      const record = await store.devices.show(device);
      if (record === null) throw new CulvertError('not_found', `there is no device named ${device}`);
      return { ok: true, device: record, lease: (await store.leases.get(device)).lease };
    },
    'record.get': (request) => deps.records.get(request),
    'record.list': (request) => deps.records.list(request),
    'record.put': (request) => deps.records.put(request),
    'record.delete': (request) => deps.records.delete(request),
    'device.revoke': async ({ device }) => ({ ok: true, missing: await revokeDevice(device, deps) }),
    'device.rotate': async ({ device, token_digest }) => {
      await store.devices.rotate(device, token_digest);
      await deps.kept.keep(device);
      return { ok: true };
    },
  });
}
