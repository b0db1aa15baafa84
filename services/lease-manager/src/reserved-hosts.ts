import type { CommandReply, CommandRequest, RecordValue } from '@culvert/bus';
import { CulvertError, faultOfHostLabel } from '@culvert/contracts';
import type { ManagerDeps } from './deps.ts';
import { tellDevice } from './move-lease.ts';

type Reply = Extract<CommandReply<'device.host'>, { ok: true }>;
type Hosts = RecordValue<'hosts'>['hosts'];

/** A rename waits for a tenure that is being set up, looking at it this often. */
const BUSY_MS = 100;
const LONGEST_HOST = 253;

/** The labels that are the device's for ever, by the port of the endpoint. */
export async function reservedHosts(device: string, { store }: Pick<ManagerDeps, 'store'>): Promise<Map<number, string>> {
  const record = await store.kept.get('hosts', device);
  const hosts = record === null ? [] : (JSON.parse(record.json) as { hosts: Hosts }).hosts;
  return new Map(hosts.map(({ port, label }) => [port, label]));
}

/**
 * Reserves a name for an endpoint, and has its lease renamed if there is one. Two records: that of the label keeps it from
 * others and is written first; that of the device is what it is given when it connects. What ends in between is done by
 * the next try: a label of the same endpoint is no obstacle.
 * @throws CulvertError `bad_request`, `not_found`, `already_exists`, `conflict`, `unavailable`
 */
export async function setHost({ device, port, label, by }: CommandRequest<'device.host'>, deps: ManagerDeps): Promise<Reply> {
  if ((await deps.store.devices.kept(device)) === null) throw new CulvertError('not_found', `there is no device named ${device}`);
  if (label === null) {
    await remember(device, port, undefined, deps);
    return { ok: true, host: null, renamed: false };
  }
  const host = `${label}.${deps.domain}`;
  await look(device, port, label, host, deps);
  const value = { device, port, created_at: Date.now(), created_by: by };
  const fresh = await deps.records.put({ collection: 'host', id: label, value, expected: 0 }).then(
    () => true,
    (error: unknown) => {
      if (error instanceof CulvertError && error.code === 'already_exists') return false;
      throw error;
    },
  );
  if (!fresh) await isOurs(device, port, label, host, deps);
  try {
    await remember(device, port, label, deps);
  } catch (error) {
    if (fresh) await deps.records.delete({ collection: 'host', id: label }).catch(() => {});
    throw error;
  }
  return { ok: true, host, renamed: await rename(device, port, host, deps) };
}

async function look(device: string, port: number, label: string, host: string, { store }: ManagerDeps): Promise<void> {
  const fault = faultOfHostLabel(label);
  if (fault !== undefined) throw new CulvertError('bad_request', fault);
  if (host.length > LONGEST_HOST) throw new CulvertError('bad_request', `${host} has more than ${LONGEST_HOST} characters`);
  const { lease } = await store.leases.get(device);
  const scheme = lease?.endpoints.find((one) => one.port === port)?.scheme;
  if (scheme === 'tcp')
    throw new CulvertError('bad_request', `port ${port} of ${device} is a tcp endpoint; those have no host name`);
  const owner = await store.names.ownerOf(host);
  if (owner !== null && (owner !== device || lease?.endpoints.some((one) => one.host === host && one.port !== port) === true)) {
    throw new CulvertError('already_exists', `${host} leads to ${owner === device ? 'another port' : 'another device'} now`);
  }
  // A name that was given out by hand is one record under the whole host name.
  if ((await store.kept.get('domain', host)) !== null)
    throw new CulvertError('already_exists', `${host} is a domain of a device`);
}

async function isOurs(device: string, port: number, label: string, host: string, { records }: ManagerDeps): Promise<void> {
  const present = (await records.get({ collection: 'host', id: label })).record?.value as RecordValue<'host'> | undefined;
  if (present?.device === device && present.port === port) return;
  throw new CulvertError('already_exists', `${host} is reserved for ${present?.device ?? 'another device'}`);
}

/** Writes what the device has, then lets the label go that the port had before. */
async function remember(device: string, port: number, label: string | undefined, { records }: ManagerDeps): Promise<void> {
  const { record } = await records.get({ collection: 'hosts', id: device });
  const present = (record?.value as RecordValue<'hosts'> | undefined)?.hosts ?? [];
  const former = present.find((one) => one.port === port);
  if (former?.label === label) return;
  const hosts = [...present.filter((one) => one.port !== port), ...(label === undefined ? [] : [{ port, label }])];
  await records.put({ collection: 'hosts', id: device, value: { hosts }, expected: record?.revision ?? 0 });
  if (former !== undefined) await records.delete({ collection: 'host', id: former.label });
}

/** True when the lease has the name now. */
async function rename(device: string, port: number, host: string, deps: ManagerDeps): Promise<boolean> {
  const until = performance.now() + deps.limits.COMMAND_MS / 2;
  for (;;) {
    const renamed = await deps.store.names.rename(device, port, host);
    const { verdict } = renamed;
    if (verdict === 'busy' && performance.now() < until) {
      await new Promise((resume) => setTimeout(resume, BUSY_MS));
      continue;
    }
    deps.log.info({ event: 'host.reserved', device, port, host, outcome: verdict });
    if (verdict !== 'ok') return verdict === 'same';
    const { lease } = await deps.store.leases.get(device);
    if (lease === null) return false;
    deps.tellers.tell(device, lease.listener, lease.epoch);
    if (lease.state === 'held') void tellDevice(lease, deps);
    return true;
  }
}
