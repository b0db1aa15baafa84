import type { FleetDevice, FleetState } from '../../api/types.ts';
import { STATES } from '../../ui/badge.tsx';

export type OrderKey = 'name' | 'state' | 'since' | 'remote';
export interface Order {
  by: OrderKey;
  down: boolean;
}

/** What of a device is searched; made once for each, as devices are replaced when they change. */
const texts = new WeakMap<FleetDevice, string>();

function textOf(device: FleetDevice): string {
  let text = texts.get(device);
  if (text === undefined) {
    const { name, remote, listener, ingress, endpoints, labels } = device;
    const hosts = endpoints.map(({ host, public_port }) => `${host}:${public_port}`);
    const pairs = Object.entries(labels).map(([label, value]) => `${label}=${value}`);
    text = [name, remote, listener, ingress, ...hosts, ...pairs].join('\n').toLowerCase();
    texts.set(device, text);
  }
  return text;
}

/** Devices that have every word somewhere. */
export function search(devices: readonly FleetDevice[], wanted: string, only: FleetState | undefined): FleetDevice[] {
  const words = wanted.toLowerCase().split(/\s+/).filter(Boolean);
  return devices.filter(
    (device) => (only === undefined || device.state === only) && words.every((word) => textOf(device).includes(word)),
  );
}

/** By name they come from the server already. */
export function sorted(devices: FleetDevice[], { by, down }: Order): FleetDevice[] {
  if (by !== 'name') devices.sort((a, b) => compare(a, b, by) || (a.name < b.name ? -1 : 1));
  return down ? devices.reverse() : devices;
}

function compare(a: FleetDevice, b: FleetDevice, by: Exclude<OrderKey, 'name'>): number {
  if (by === 'state') return STATES.indexOf(a.state) - STATES.indexOf(b.state);
  if (by === 'since') return (b.since ?? 0) - (a.since ?? 0);
  return a.remote < b.remote ? -1 : a.remote > b.remote ? 1 : 0;
}
