import type { Logger } from '@culvert/service-kit';
import type { Fleet, FleetEntry } from './fleet.ts';
import { FLEET_STATES, type FleetDevice, fleetDeviceOf } from './fleet-device.ts';

export type FleetCounts = Record<FleetDevice['state'], number>;

export interface FleetChange {
  devices: FleetDevice[];
  /** Names of those that are gone. */
  removed: string[];
  counts: FleetCounts;
}

interface Told {
  view: FleetEntry['view'];
  text: string;
  device: FleetDevice;
}

/** Changes are told together, this often. */
const LOOK_MS = 500;

/**
 * Tells what has changed among all devices, while somebody listens: it looks at the fleet twice a second and compares. Devices
 * that did not change are the same objects as before, so that a look at 10,000 costs about a millisecond.
 */
export class FleetWatch {
  readonly #fleet: Fleet;
  readonly #log: Logger;
  readonly #listeners = new Set<(change: FleetChange) => void>();
  #told = new Map<string, Told>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<FleetChange> | undefined;

  constructor(fleet: Fleet, log: Logger) {
    this.#fleet = fleet;
    this.#log = log;
  }

  /** Every device, in the order of the names. @throws CulvertError what the registry answers. */
  async all(): Promise<{ counts: FleetCounts; devices: FleetDevice[] }> {
    const { counts } = await this.#look();
    const devices = [...this.#told.values()].map(({ device }) => device);
    return { counts, devices: devices.sort((a, b) => (a.name < b.name ? -1 : 1)) };
  }

  /** Calls `listener` with what changes from now on; call what is returned to end it. */
  follow(listener: (change: FleetChange) => void): () => void {
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => {
      this.#look().catch((err: Error) => this.#log.debug({ event: 'fleet.unread', err: err.message }));
    }, LOOK_MS);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.stop();
    };
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** One look at a time, or one change would be told twice. */
  #look(): Promise<FleetChange> {
    this.#looking ??= this.#compare().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async #compare(): Promise<FleetChange> {
    const now = new Map<string, Told>();
    const change: FleetChange = { devices: [], removed: [], counts: noneOf() };
    for (const { view } of await this.#fleet.all()) {
      const before = this.#told.get(view.name);
      let one = before;
      if (one === undefined || one.view !== view) {
        const device = fleetDeviceOf(view);
        const text = JSON.stringify(device);
        if (text !== before?.text) change.devices.push(device);
        one = { view, text, device };
      }
      now.set(view.name, one);
      change.counts[one.device.state] += 1;
    }
    for (const name of this.#told.keys()) if (!now.has(name)) change.removed.push(name);
    this.#told = now;
    if (change.devices.length > 0 || change.removed.length > 0) for (const listener of this.#listeners) listener(change);
    return change;
  }
}

const noneOf = (): FleetCounts => Object.fromEntries(FLEET_STATES.map((state) => [state, 0])) as FleetCounts;
