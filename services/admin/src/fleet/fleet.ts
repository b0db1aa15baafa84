import type { Bus } from '@culvert/bus';
import { EVENTS_SUBJECTS, faultOfDeviceName } from '@culvert/contracts';
import type { DeviceView } from '../device-view.ts';

export interface FleetDeps {
  bus: Pick<Bus, 'nc'>;
  /** One page of all devices, in the order of their names. */
  list(cursor: string | undefined): Promise<{ devices: DeviceView[]; cursor: string | null }>;
  /** null: there is no such device any more. */
  show(device: string): Promise<DeviceView | null>;
}

/** A device with what a search looks through. */
export interface FleetEntry {
  view: DeviceView;
  text: string;
}

/** With more than this many changed devices all are read again, page by page. */
const MOST_CHANGED = 200;
const AT_ONCE = 32;
/** All devices are read again this often at most, however many change. */
const RELOAD_EVERY_MS = 2_000;
/** And after this, in case a message was lost; answers do not wait for it. */
const GOOD_FOR_MS = 60_000;
/** Changes that come while others are read are waited for, this often. */
const ROUNDS = 3;

/**
 * All devices in memory, for questions that the registry has no index for: sorting, filters, counts. Nothing is read until
 * somebody asks. Then events and the audit log say which devices have changed, and these are read again before the answer.
 *
 *   empty --asked--> loaded --a device changed--> that one is read again --too many--> loaded anew
 *                      \--a minute old--> loaded anew, while what is known is the answer
 */
export class Fleet {
  readonly #deps: FleetDeps;
  readonly #subscriptions: { unsubscribe(): void }[];
  #entries = new Map<string, FleetEntry>();
  #changed = new Set<string>();
  #tooMany = false;
  #loadedAt = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | undefined;
  #renewing: Promise<void> | undefined;
  /** What changed while all are read: it may be older there. */
  #since: Set<string> | undefined;

  constructor(deps: FleetDeps) {
    this.#deps = deps;
    const { nc } = deps.bus;
    const events = EVENTS_SUBJECTS.filter((subject) => /^(?:device|lease)\./.test(subject)).map((subject) =>
      nc.subscribe(subject, {
        callback: (error, message) => {
          if (error === null) this.touch(message.subject.split('.')[2] ?? '');
        },
      }),
    );
    const audit = nc.subscribe('audit.device.*', {
      callback: (error, message) => {
        if (error === null) this.touch(objectOf(message.string()));
      },
    });
    this.#subscriptions = [...events, audit];
  }

  close(): void {
    for (const subscription of this.#subscriptions) subscription.unsubscribe();
  }

  /** The device has changed: it is read again before the next answer. */
  touch(device: string): void {
    if (this.#entries.size === 0) return; // nobody has asked yet
    if (faultOfDeviceName(device) !== undefined) return; // the audit log has refused names too
    this.#since?.add(device);
    if (this.#changed.size < MOST_CHANGED) this.#changed.add(device);
    else this.#tooMany = true;
  }

  /** Every device as it is now. @throws CulvertError what the registry answers. */
  async all(): Promise<IterableIterator<FleetEntry>> {
    if (this.#isLoaded && this.#age > GOOD_FOR_MS) this.#renew();
    for (let round = 0; round < ROUNDS && this.#outdated; round++) {
      this.#refreshing ??= this.#refresh().finally(() => {
        this.#refreshing = undefined;
      });
      await this.#refreshing;
    }
    return this.#entries.values();
  }

  /** Reads all again; when that fails the next question waits for it, and is told why. */
  #renew(): void {
    this.#renewing ??= this.#load()
      .catch(() => {
        this.#loadedAt = Number.NEGATIVE_INFINITY;
      })
      .finally(() => {
        this.#renewing = undefined;
      });
  }

  get #isLoaded(): boolean {
    return this.#loadedAt !== Number.NEGATIVE_INFINITY;
  }

  get #age(): number {
    return performance.now() - this.#loadedAt;
  }

  get #outdated(): boolean {
    return !this.#isLoaded || (this.#tooMany ? this.#age > RELOAD_EVERY_MS : this.#changed.size > 0);
  }

  async #refresh(): Promise<void> {
    const all = this.#tooMany || !this.#isLoaded;
    if (all) await this.#renewing;
    const changed = [...this.#changed];
    this.#changed = new Set(); // what changes from now on is read again
    this.#tooMany = false;
    try {
      if (all) await this.#load();
      else await this.#read(changed);
    } catch (error) {
      this.#tooMany = true; // nothing of it is known to be right
      this.#loadedAt = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  async #load(): Promise<void> {
    const from = performance.now();
    const since = new Set<string>();
    this.#since = since;
    const entries = new Map<string, FleetEntry>();
    let cursor: string | undefined;
    try {
      do {
        const page = await this.#deps.list(cursor);
        for (const view of page.devices) entries.set(view.name, entryOf(view));
        cursor = page.cursor ?? undefined;
      } while (cursor !== undefined);
    } finally {
      this.#since = undefined; // else it would grow until the next time
    }
    this.#entries = entries;
    this.#loadedAt = from;
    for (const device of since) this.touch(device);
  }

  async #read(devices: readonly string[]): Promise<void> {
    for (let i = 0; i < devices.length; i += AT_ONCE) {
      const some = devices.slice(i, i + AT_ONCE);
      const views = await Promise.all(some.map((device) => this.#deps.show(device)));
      for (const [at, view] of views.entries()) {
        if (view === null) this.#entries.delete(some[at] as string);
        else this.#entries.set(view.name, entryOf(view));
      }
    }
  }
}

function entryOf(view: DeviceView): FleetEntry {
  const labels = Object.entries(view.labels).map(([name, value]) => `${name}=${value}`);
  const addresses = view.endpoints.flatMap(({ host, public_port }) => [host, String(public_port)]);
  return { view, text: [view.name, ...labels, ...addresses, view.remote ?? '', view.notes].join('\n').toLowerCase() };
}

function objectOf(entry: string): string {
  try {
    return (JSON.parse(entry) as { data: { object: string } }).data.object;
  } catch {
    return '';
  }
}
