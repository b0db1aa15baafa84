import { useSyncExternalStore } from 'react';
import { ApiError, get } from './client.ts';
import { openStream, type StreamState } from './stream.ts';
import type { FleetChange, FleetCounts, FleetDevice } from './types.ts';

export interface FleetView {
  /** Undefined until they were read once. */
  devices: readonly FleetDevice[] | undefined;
  counts: FleetCounts;
  stream: StreamState;
  error: ApiError | undefined;
}

const NONE: FleetCounts = { connected: 0, reconnecting: 0, grace: 0, offline: 0, revoked: 0 };
const RETRY_MS = 3_000;

/**
 * All devices, kept up to date by one stream for the whole page. After each `begin` of the stream they are read as a whole, so
 * that nothing is missed over a break; what changes meanwhile is put over it.
 */
class FleetStore {
  #view: FleetView = { devices: undefined, counts: NONE, stream: 'connecting', error: undefined };
  readonly #devices = new Map<string, FleetDevice>();
  readonly #listeners = new Set<() => void>();
  /** While the whole is being read: what has changed since. */
  #pending: FleetChange[] | undefined;
  #stop: (() => void) | undefined;

  start(): () => void {
    this.#stop?.();
    const close = openStream({
      url: '/v1/fleet/feed',
      on: { begin: () => void this.#read(), change: (change: FleetChange) => this.#onChange(change) },
      onState: (stream) => this.#set({ stream }),
    });
    this.#stop = close;
    return close;
  }

  clear(): void {
    this.#devices.clear();
    this.#set({ devices: undefined, counts: NONE });
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  view = (): FleetView => this.#view;

  async #read(): Promise<void> {
    const pending: FleetChange[] = [];
    this.#pending = pending;
    try {
      const { devices, counts } = await get<{ devices: FleetDevice[]; counts: FleetCounts }>('/v1/fleet/devices');
      if (this.#pending !== pending) return; // the stream was opened anew meanwhile
      this.#devices.clear();
      for (const device of devices) this.#devices.set(device.name, device);
      this.#pending = undefined;
      this.#set({ devices, counts, error: undefined });
      for (const change of pending) this.#onChange(change);
    } catch (error) {
      if (this.#pending !== pending) return;
      this.#set({ error: error instanceof ApiError ? error : new ApiError(0, 'internal', String(error)) });
      setTimeout(() => this.#pending === pending && void this.#read(), RETRY_MS);
    }
  }

  #onChange(change: FleetChange): void {
    if (this.#pending !== undefined) {
      this.#pending.push(change);
      return;
    }
    let added = change.removed.length > 0;
    for (const name of change.removed) this.#devices.delete(name);
    for (const device of change.devices) {
      added ||= !this.#devices.has(device.name);
      this.#devices.set(device.name, device);
    }
    const devices = [...this.#devices.values()];
    if (added) devices.sort((a, b) => (a.name < b.name ? -1 : 1));
    this.#set({ devices, counts: change.counts });
  }

  #set(more: Partial<FleetView>): void {
    this.#view = { ...this.#view, ...more };
    for (const listener of this.#listeners) listener();
  }
}

export const fleet = new FleetStore();

export const useFleet = (): FleetView => useSyncExternalStore(fleet.subscribe, fleet.view);
