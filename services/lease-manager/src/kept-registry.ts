import { CulvertError } from '@culvert/contracts';
import type { KeptDevice, LeaseStore } from '@culvert/lease-store';
import { type KV, Kvm } from '@nats-io/kv';
import type { NatsConnection } from '@nats-io/transport-node';

const BUCKET = 'CULVERT_REGISTRY';
/** Incarnation of the store that the bucket mirrors. */
const MARKER = 'store.incarnation';
const DEVICES = 'device.';
/** Who is overtaken by another writer of the same device reads again, this often. */
const TRIES = 8;
const AT_ONCE = 32;

type Entry = Omit<KeptDevice, 'device'>;

/**
 * The operators' data, kept in JetStream beside the store: what no device could re-assert. An entry is written from what
 * the store says at that moment, by compare-and-set, so that the last write is never the older one.
 */
export class KeptRegistry {
  readonly #nc: NatsConnection;
  readonly #store: LeaseStore;
  #bucket: Promise<KV> | undefined;

  constructor(nc: NatsConnection, store: LeaseStore) {
    this.#nc = nc;
    this.#store = store;
  }

  /** Keeps the device as it is now; resolves when that is acknowledged. @throws CulvertError `unavailable` */
  async keep(device: string): Promise<void> {
    try {
      const bucket = await this.#open();
      const key = DEVICES + device;
      for (let tries = 0; ; tries++) {
        const known = await bucket.get(key);
        const present = await this.#store.devices.kept(device);
        if (present === null) return;
        const { device: _, ...entry } = present;
        if (known !== null && known.operation === 'PUT' && known.json<Entry>().generation > entry.generation) return;
        try {
          const text = JSON.stringify(entry);
          if (known === null) await bucket.create(key, text);
          else await bucket.update(key, text, known.revision);
          return;
        } catch (error) {
          if (tries + 1 >= TRIES) throw error;
        }
      }
    } catch (cause) {
      if (cause instanceof CulvertError) throw cause;
      this.#bucket = undefined;
      throw new CulvertError('unavailable', `the registry cannot be kept: ${(cause as Error).message}`, {
        cause,
        retryAfterMs: 2_000,
      });
    }
  }

  async all(): Promise<KeptDevice[]> {
    const bucket = await this.#open();
    const devices: KeptDevice[] = [];
    for await (const { key, operation, value } of await bucket.history({ key: `${DEVICES}>` })) {
      if (operation !== 'PUT') continue;
      devices.push({ device: key.slice(DEVICES.length), ...(JSON.parse(new TextDecoder().decode(value)) as Entry) });
    }
    return devices;
  }

  /** Undefined in a system that is new. */
  async mirrored(): Promise<string | undefined> {
    return (await (await this.#open()).get(MARKER))?.string();
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
    await (await this.#open()).put(MARKER, incarnation);
  }

  #open(): Promise<KV> {
    this.#bucket ??= new Kvm(this.#nc).create(BUCKET, { history: 1 }).catch((error: unknown) => {
      this.#bucket = undefined;
      throw error;
    });
    return this.#bucket;
  }
}
