import type { Scheme } from '@culvert/contracts';

export interface DeviceEndpoint {
  port: number;
  scheme: Scheme;
  url?: string;
  host?: string;
  public_port: number;
}

/** A device as the commands print it; fields that this version does not know are kept as the API gave them. */
export interface Device {
  name: string;
  state: 'connected' | 'grace' | 'offline';
  /** `reconnecting` while a lost device still has its visitors held; state is `grace` then. */
  state_detail?: string | null;
  epoch: number | null;
  endpoints: DeviceEndpoint[];
  revoked?: boolean;
  labels?: Record<string, string>;
  notes?: string;
  since?: number | string | null;
  due?: number | string | null;
  remote?: string | null;
  created_at?: number | string;
}

/** The API knows one state more than operators need: `reconnecting` is the first part of the grace period. */
export function deviceOf(answer: unknown): Device {
  const given = (typeof answer === 'object' && answer !== null ? answer : {}) as Omit<Device, 'state'> & { state: string };
  const shared = { ...given, endpoints: given.endpoints ?? [] };
  if (given.state === 'reconnecting') return { ...shared, state: 'grace', state_detail: 'reconnecting' };
  return { ...shared, state: given.state as Device['state'] };
}

/** How a visitor reaches the endpoint, in one word. */
export function addressOf(endpoint: DeviceEndpoint): string {
  if (endpoint.url !== undefined) return endpoint.url;
  const host = endpoint.host ?? '';
  return `${host.includes(':') ? `[${host}]` : host}:${endpoint.public_port}`;
}

export function stateOf(device: Device): string {
  const state = device.state_detail === 'reconnecting' ? `${device.state} (reconnecting)` : device.state;
  return device.revoked === true ? `${state}, revoked` : state;
}
