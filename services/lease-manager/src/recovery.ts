import type { ManagerDeps } from './deps.ts';

/** Devices, or other records, that are put back at once. */
const BATCH = 500;

/**
 * Brings a store that has lost its data back: the registry out of JetStream first, then RECOVERY_MS in which the living
 * re-assert what they hold, then it lives under a new incarnation. All lease-managers take part; the store lets one go on.
 */
export class StoreRecovery {
  readonly #deps: ManagerDeps;
  /** The incarnation that lives, and the one that the kept registry is known to mirror. */
  #present = '';
  #mirrored = '';
  /** The store has not answered otherwise since. */
  alive = false;

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
  }

  /** One step; true when the store lives. @throws whatever Redis or NATS fails with. */
  async step(): Promise<boolean> {
    const { store, log } = this.#deps;
    let now = await store.recovery.step();
    if (now.state === 'preparing') {
      this.alive = false;
      await this.#prepare(now.incarnation);
      now = await store.recovery.step();
    }
    if (now.state === 'finished') log.warn({ event: 'store.recovered', incarnation: now.incarnation, leases: now.leases });
    this.alive = now.state === 'alive' || now.state === 'finished';
    if (now.state === 'alive' || now.state === 'finished') this.#present = now.incarnation;
    return this.alive;
  }

  async #prepare(incarnation: string): Promise<void> {
    const { store, bucket, kept, records, limits, log } = this.#deps;
    const previous = await kept.mirrored();
    const position = await bucket.position();
    const devices = await kept.all();
    for (let i = 0; i < devices.length; i += BATCH) await store.recovery.load(devices.slice(i, i + BATCH));
    const others = await records.all();
    for (let i = 0; i < others.length; i += BATCH) await store.kept.load(others.slice(i, i + BATCH));
    await store.kept.reached(position);
    // A system that is new has lost nothing: nobody holds anything.
    const isNew = previous === undefined && devices.length === 0 && others.length === 0;
    const opened = await store.recovery.open(isNew ? 0 : limits.RECOVERY_MS, isNew ? '' : (previous ?? 'unknown'));
    if (!isNew) log.warn({ event: 'store.recovering', incarnation, previous, devices: devices.length, state: opened.state });
  }

  /** Only of a primary that is settled: an older store would overwrite what it lacks. */
  async mirror(): Promise<void> {
    const { kept, records, log } = this.#deps;
    const incarnation = this.#present;
    if (this.#mirrored === incarnation) return;
    try {
      if ((await kept.mirrored()) !== incarnation) {
        await records.mirror();
        await kept.mirror(incarnation);
      }
      this.#mirrored = incarnation;
    } catch (err) {
      log.debug({ event: 'registry.not_mirrored', err }); // the next step tries again
    }
  }
}
