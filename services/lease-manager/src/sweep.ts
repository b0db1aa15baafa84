import type { GoneInstance } from '@culvert/lease-store';
import type { ManagerDeps } from './deps.ts';
import { inParallel } from './parallel.ts';
import { StoreRecovery } from './recovery.ts';
import { Rehoming } from './rehoming.ts';
import { StandDown } from './stand-ins.ts';
import { settlePrimary } from './succession.ts';
import { Unheld } from './unheld.ts';

const SERVICES = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin'] as const;
/** Leases looked at in one sweep. */
const BATCH = 1_000;

/**
 * Looks every SWEEP_MS which instances are gone and what is due. Every lease-manager sweeps: the scripts are atomic, so
 * what one has done the others find done.
 */
export class Sweeper {
  readonly #deps: ManagerDeps;
  readonly #recovery: StoreRecovery;
  readonly #rehoming: Rehoming;
  readonly #standDown: StandDown;
  readonly #unheld: Unheld;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;
  #failing = false;

  constructor(deps: ManagerDeps) {
    this.#deps = deps;
    this.#recovery = new StoreRecovery(deps);
    this.#rehoming = new Rehoming(deps);
    this.#standDown = new StandDown(deps);
    this.#unheld = new Unheld(deps);
  }

  /** The first judgement comes before the first command: it notices that the whole system stood still. */
  async start(): Promise<void> {
    await this.#lives().catch((err: Error) => this.#deps.log.warn({ event: 'sweep.failed', err }));
    await this.#judge();
    this.#again();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#rehoming.stop();
    await this.#running;
  }

  #again(): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#sweep().then(() => this.#again());
    }, this.#deps.limits.SWEEP_MS);
  }

  async #sweep(): Promise<void> {
    const { store, log } = this.#deps;
    try {
      const lives = await this.#lives();
      await this.#judge();
      if (!lives) return;
      for (const instance of await store.instances.gone()) await this.#releaseAll(instance);
      await inParallel(await store.leases.due(BATCH), (device) => this.#advance(device));
      this.#rehoming.look();
      this.#standDown.look();
      this.#unheld.look();
      this.#deps.records.look();
      if (this.#failing) log.info({ event: 'sweep.back' });
      this.#failing = false;
    } catch (err) {
      if (!this.#failing) log.warn({ event: 'sweep.failed', err });
      this.#failing = true;
    }
  }

  /** Whether leases may change; brings it about when they may not yet. */
  async #lives(): Promise<boolean> {
    if (!(await this.#recovery.step())) return false;
    await settlePrimary(this.#deps);
    await this.#recovery.mirror();
    return true;
  }

  async #judge(): Promise<void> {
    const gone = await this.#deps.store.instances.judge(SERVICES);
    for (const instance of gone) this.#deps.log.warn({ event: 'instance.gone', gone: instance });
  }

  /** Its devices were lost with it: they are expected back elsewhere. */
  async #releaseAll(instance: GoneInstance): Promise<void> {
    const { store, metrics } = this.#deps;
    let cursor: string | undefined;
    for (;;) {
      const devices = await store.leases.heldBy(instance.id, cursor, BATCH);
      await inParallel(devices, async (device) => {
        const { lease } = await store.leases.get(device);
        if (lease === null || lease.ingress !== instance.id) return;
        const { verdict } = await store.leases.releaseGone(device, lease.epoch);
        if (verdict !== 'ok') return;
        metrics.swept.inc({ transition: 'ingress_gone' });
        this.#deps.tellers.tell(device, lease.listener, lease.epoch);
      });
      cursor = devices.at(-1);
      if (devices.length < BATCH) break;
    }
    await store.instances.cleaned(instance);
  }

  async #advance(device: string): Promise<void> {
    const { store, metrics, log, tellers } = this.#deps;
    const { abandoned, step, former } = await store.leases.advance(device);
    const { lease, pending } = former;
    if (step !== 'none') metrics.swept.inc({ transition: step });
    if (step === 'expired') log.info({ event: 'lease.expired', device, epoch: lease?.epoch });
    if (lease !== null && (step === 'grace' || step === 'expired')) tellers.tell(device, lease.listener, lease.epoch);
    if (abandoned === 0) return;
    metrics.swept.inc({ transition: 'abandoned' });
    log.warn({ event: 'tenure.abandoned', device, epoch: abandoned });
    const listener = pending?.listener ?? lease?.listener;
    if (listener === undefined) return;
    // Only without the newer tenure does the listener believe the older one again.
    await this.#deps.bus
      .requestOf(listener, 'listener.unbind', { device, epoch: abandoned }, { timeoutMs: 1_000 })
      .catch(() => {});
    tellers.tell(device, listener, abandoned);
  }
}
