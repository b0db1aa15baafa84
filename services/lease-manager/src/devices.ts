import type { CommandReply, CommandRequest, RecordValue } from '@culvert/bus';
import { CulvertError } from '@culvert/contracts';
import type { DeviceRecord } from '@culvert/lease-store';
import type { ManagerDeps } from './deps.ts';
import { fitPage } from './page.ts';

const PAGE = 100;
/** Devices looked at for one page; who filters for what few have goes on with the cursor. */
const MOST_LOOKED_AT = 5_000;

type Profile = RecordValue<'profile'>;
type Shown = DeviceRecord & Partial<Profile>;

async function profileOf(device: string, { store }: Pick<ManagerDeps, 'store'>): Promise<Partial<Profile>> {
  const record = await store.kept.get('profile', device);
  return record === null ? {} : (JSON.parse(record.json) as Profile);
}

/** Devices in the order of their names, with their leases; those that have all the labels. */
export async function listDevices(
  { cursor, limit = PAGE, labels = {} }: CommandRequest<'device.list'>,
  deps: Pick<ManagerDeps, 'store'>,
): Promise<CommandReply<'device.list'>> {
  const { store } = deps;
  const wanted = Object.entries(labels);
  const found: Shown[] = [];
  let next = cursor ?? null;
  for (let looked = 0; looked < MOST_LOOKED_AT && found.length < limit; looked += limit) {
    const page = await store.devices.list(next ?? undefined, limit);
    const shown = await Promise.all(page.devices.map(async (one) => ({ ...one, ...(await profileOf(one.device, deps)) })));
    const fitting = shown.filter(({ labels: has = {} }) => wanted.every(([name, value]) => has[name] === value));
    const taken = fitting.slice(0, limit - found.length);
    found.push(...taken);
    next = taken.length < fitting.length ? (taken.at(-1)?.device ?? next) : page.cursor;
    if (next === null) break;
  }
  const leases = await Promise.all(found.map(({ device }) => store.leases.get(device)));
  const all = found.map((device, i) => ({ ...device, lease: leases[i]?.lease ?? null }));
  const fitting = fitPage(all, next, ({ device }) => device);
  return { ok: true, devices: fitting.items, cursor: fitting.cursor };
}

/** @throws CulvertError `not_found` */
export async function showDevice(device: string, deps: Pick<ManagerDeps, 'store'>): Promise<CommandReply<'device.show'>> {
  const record = await deps.store.devices.show(device);
  if (record === null) throw new CulvertError('not_found', `there is no device named ${device}`);
  const [profile, { lease }] = await Promise.all([profileOf(device, deps), deps.store.leases.get(device)]);
  return { ok: true, device: { ...record, ...profile }, lease };
}
