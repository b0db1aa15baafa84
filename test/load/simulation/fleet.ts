import { createHash } from 'node:crypto';
import type { Endpoint, Limits } from '@culvert/contracts';
import type { AssertedLease, KeptDevice, LeaseStore, Tenure } from '@culvert/lease-store';
import { createHostLabel } from '../../../services/lease-manager/src/hosts.ts';

/** Leases of one ingress, and public ports of one listener, as an operator would have them. */
export const DEVICES_EACH = 50_000;
const FIRST_PORT = 10_000;

export const deviceOf = (index: number): string => `device-${String(index).padStart(7, '0')}`;
export const ingressOf = (index: number): string => `ws-ingress-${1 + Math.floor(index / DEVICES_EACH)}`;
export const listenerOf = (index: number): string => `tcp-listener-${1 + Math.floor(index / DEVICES_EACH)}`;
export const RANGE = [FIRST_PORT, FIRST_PORT + DEVICES_EACH - 1] as const;
const digestOf = (device: string): string => createHash('sha256').update(device).digest('hex');

/** Half with an http endpoint, half with a tcp one. */
function endpointOf(index: number, publicPort: number): Endpoint {
  return index % 2 === 0
    ? { port: 80, scheme: 'http', host: `${createHostLabel()}.culvert.example`, public_port: publicPort }
    : { port: 22, scheme: 'tcp', public_port: publicPort };
}

export const keptOf = (index: number): KeptDevice => {
  const device = deviceOf(index);
  return { device, token_digest: digestOf(device), created_at: 1_700_000_000_000, revoked: false, generation: 0 };
};

const brought = (index: number): Omit<Tenure, 'token_digest'> => ({
  ...{ ingress: ingressOf(index), control: createHash('md5').update(deviceOf(index)).digest('hex').slice(0, 16) },
  ...{
    boot: digestOf(deviceOf(index)).slice(0, 22),
    remote: `203.0.113.${index % 250}`,
    warm: 0,
    transfers: 256,
    max_frame: 65_536,
  },
});

/** What an ingress says that it holds, when the store has lost everything. */
export function assertedOf(index: number, now: number): AssertedLease {
  return {
    ...brought(index),
    ...{ device: deviceOf(index), state: 'held', epoch: now, rev: 3, since: now, listener: listenerOf(index) },
    endpoints: [endpointOf(index, FIRST_PORT + (index % DEVICES_EACH))],
    token_digest: digestOf(deviceOf(index)),
  };
}

/** The store's part of one new device's way in: that of lease-manager and port-allocator, in their order. */
export async function acquire(store: LeaseStore, index: number): Promise<number> {
  const device = deviceOf(index);
  const tenure: Tenure = { ...brought(index), token_digest: digestOf(device) };
  await store.devices.authenticate(device, tenure.token_digest);
  const { lease } = await store.leases.get(device);
  await store.leases.damp(device, tenure.boot, tenure.remote);
  const begun = await store.leases.begin(device, tenure, { expectedEpoch: lease?.epoch ?? 0, mayBeHeld: false });
  if (begun.verdict !== 'ok') throw new Error(`begin of ${device}: ${begun.verdict}`);
  const { epoch } = begun;
  const listener = listenerOf(index);
  const reserved = await store.ports.reserve({ device, epoch, listener, range: RANGE, count: 1, unusable: [] });
  if (reserved.verdict !== 'ok') throw new Error(`reserve for ${device}: ${reserved.verdict}`);
  const endpoints = [endpointOf(index, reserved.ports[0] ?? 0)];
  const confirmed = await store.leases.confirm(device, { epoch, listener, endpoints, routeHost: '10.0.0.7' });
  if (confirmed.verdict !== 'ok') throw new Error(`confirm of ${device}: ${confirmed.verdict}`);
  return epoch;
}

export const registerDevice = (store: LeaseStore, index: number): Promise<unknown> =>
  store.devices.add(deviceOf(index), digestOf(deviceOf(index)));

/** What is due after a lost link is due at once: nothing is waited for. */
export const sped = (limits: Limits): Limits => ({ ...limits, RECONNECTING_MS: 1 });
