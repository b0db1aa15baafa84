import type { KeptDevice, RecordRef, StoredRecord } from '@culvert/lease-store';
import type { ManagerDeps } from './deps.ts';
import { revokeDevice } from './revoke.ts';

/** Devices, or records, that are put back at once. */
const BATCH = 500;

/** What the store had not, of what operators were told is kept. */
export interface CaughtUp {
  devices: readonly KeptDevice[];
  records: readonly RecordRef[];
}

/**
 * A server that was started again, was a replica, or got a backup may lack operators' acts that were acknowledged: it would know
 * a revoked token again. Their copies in JetStream are read from the place on that the store knows of, before any lease changes.
 * @throws whatever Redis or NATS fails with; done again it does no harm.
 */
export async function catchUp({ store, bucket, kept, records }: ManagerDeps): Promise<CaughtUp> {
  const now = await bucket.position();
  const behind = { devices: [] as KeptDevice[], records: [] as RecordRef[] };
  let devices: KeptDevice[] = [];
  let others: (StoredRecord & RecordRef)[] = [];
  const load = async (): Promise<void> => {
    behind.devices.push(...(await store.recovery.load(devices)));
    behind.records.push(...(await store.kept.load(others)));
    devices = [];
    others = [];
  };
  for await (const change of bucket.changes(await store.kept.position(), now)) {
    const device = kept.deviceOf(change);
    const record = records.recordOf(change);
    if (device !== undefined) devices.push(device);
    if (record !== undefined && 'json' in record) others.push(record);
    else if (record !== undefined && (await store.kept.drop(record, record.removedAt))) behind.records.push(record);
    if (devices.length + others.length >= BATCH) await load();
  }
  await load();
  await store.kept.reached(now);
  return behind;
}

/** Once leases may change again: edges hear of it, and the revoked have no lease. What fails is repaired by time: rights age at the edge, leases end. */
export async function follow({ devices, records }: CaughtUp, deps: ManagerDeps): Promise<void> {
  if (devices.length + records.length === 0) return;
  deps.log.warn({ event: 'store.caught_up', devices: devices.length, records: records.length });
  await deps.records.announce(records);
  for (const { device } of devices.filter(({ revoked }) => revoked)) {
    await revokeDevice(device, deps).catch((err: Error) => deps.log.warn({ event: 'device.not_cut', device, err: err.message }));
  }
}
