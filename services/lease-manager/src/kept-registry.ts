import type { KeptDevice, LeaseStore } from '@culvert/lease-store';
import type { Change, KeptBucket } from './kept-bucket.ts';

/** Incarnation of the store that the bucket mirrors. */
const MARKER = 'store.incarnation';
const DEVICES = 'device.';
const AT_ONCE = 32;

type Entry = Omit<KeptDevice, 'device'>;

/** The devices, kept beside the store: what no device could re-assert. */
export class KeptRegistry {
  readonly #bucket: KeptBucket;
  readonly #store: LeaseStore;

  constructor(bucket: KeptBucket, store: LeaseStore) {
    this.#bucket = bucket;
    this.#store = store;
  }

  /** Keeps the device as it is now; resolves when that is acknowledged. @throws CulvertError `unavailable` */
  async keep(device: string): Promise<void> {
    const reached = await this.#bucket.write(DEVICES + device, async (known) => {
      const present = await this.#store.devices.kept(device);
      if (present === null) return 'as_it_is';
      const { device: _, ...entry } = present;
      if (known !== undefined && (JSON.parse(known) as Entry).generation > entry.generation) return 'as_it_is';
      return { json: JSON.stringify(entry) };
    });
    if (reached !== undefined) await this.#store.kept.reached(reached).catch(() => {}); // it is read once more then, in vain
  }

  async all(): Promise<KeptDevice[]> {
    const devices: KeptDevice[] = [];
    for await (const { key, json } of this.#bucket.entries(DEVICES)) {
      devices.push({ device: key, ...(JSON.parse(json) as Entry) });
    }
    return devices;
  }

  /** The device that a change of the bucket is about; undefined when it is about something else. */
  deviceOf(change: Change): KeptDevice | undefined {
    if (!change.key.startsWith(DEVICES) || !('json' in change)) return undefined;
    return { device: change.key.slice(DEVICES.length), ...(JSON.parse(change.json) as Entry) };
  }

  /** Undefined in a system that is new. */
  mirrored(): Promise<string | undefined> {
    return this.#bucket.get(MARKER);
  }

  /** Makes the bucket the mirror of the store as it is: keeps every device that is not kept yet. */
  async mirror(incarnation: string): Promise<void> {
    let cursor: string | undefined;
    do {
      const page = await this.#store.devices.list(cursor, AT_ONCE);
      await Promise.all(page.devices.map(({ device }) => this.keep(device)));
      cursor = page.cursor ?? undefined;
    } while (cursor !== undefined);
    await this.mark(incarnation);
  }

  async mark(incarnation: string): Promise<void> {
    await this.#bucket.put(MARKER, incarnation);
  }
}
