import type { CommandReply } from '@culvert/bus';
import { CulvertError, type Endpoint } from '@culvert/contracts';
import type { Logger } from '@culvert/service-kit';
import { Device, type Tenure } from './device.ts';
import type { PublicPorts } from './public-ports.ts';
import type { WarmBudget } from './warm-pool.ts';

/** Devices of which it is known when they changed last. The longest unchanged are forgotten. */
const CHANGES_KEPT = 100_000;

/**
 * Which device has which public ports here. Level-triggered: the highest (epoch, rev) wins, whatever the order of
 * arrival; changes of one device happen one after the other.
 */
export class Tenures {
  readonly #ports: PublicPorts;
  readonly #log: Logger;
  readonly #budget: WarmBudget;
  readonly #devices = new Map<string, Device>();
  readonly #owners = new Map<number, Device>();
  /** By the digests that transfers of their present tenure must present. */
  readonly #byDigest = new Map<string, Device>();
  readonly #turns = new Map<string, Promise<unknown>>();
  /** When each device was bound or unbound last, by a clock that counts changes. In that order. */
  readonly #changedAt = new Map<string, number>();
  #clock = 0;
  /** Commands so far: what was bound or unbound without comparing with the store. */
  commands = 0;

  constructor(ports: PublicPorts, log: Logger, budget: WarmBudget) {
    this.#budget = budget;
    this.#ports = ports;
    this.#log = log;
  }

  device(name: string): Device | undefined {
    return this.#devices.get(name);
  }

  /** The device whose present tenure has this digest. */
  holderOf(digest: string): Device | undefined {
    return this.#byDigest.get(digest);
  }

  /** The key with which this device may dial transfers past the edge, for as long as that epoch lasts here. */
  keyOf(name: string, epoch: number): string | undefined {
    const device = this.#devices.get(name);
    if (device === undefined) return undefined;
    const key = device.keyOf(epoch);
    for (const digest of device.digests) this.#byDigest.set(digest, device);
    return key;
  }

  devices(): IterableIterator<Device> {
    return this.#devices.values();
  }

  at(publicPort: number): { device: Device; endpoint: Endpoint } | undefined {
    const device = this.#owners.get(publicPort);
    const endpoint = device?.endpointAt(publicPort);
    return device === undefined || endpoint === undefined ? undefined : { device, endpoint };
  }

  /** A mark in time: what changed later is newer than a list that was asked for after it. */
  now(): number {
    return this.#clock;
  }

  /** As `bind`, unless the device was bound or unbound after the mark: then the list is old news. */
  bindUnlessChanged(tenure: Tenure, mark: number): Promise<CommandReply<'listener.bind'>> {
    return this.#inTurn(tenure.device, async () => (this.#changedSince(tenure.device, mark) ? { ok: true } : this.#bind(tenure)));
  }

  /** Devices whose leases are here, as far as is known, and were not changed after the mark. */
  boundBefore(mark: number): Device[] {
    return [...this.#devices.values()].filter(
      ({ name, tenure }) => tenure !== undefined && tenure.stand_in?.here !== true && !this.#changedSince(name, mark),
    );
  }

  /**
   * Opens, keeps and closes ports until they are those of the tenure; all or nothing.
   *
   * @throws CulvertError `lease_lost` when a newer tenure is known.
   */
  bind(tenure: Tenure): Promise<CommandReply<'listener.bind'>> {
    this.commands += 1;
    return this.#inTurn(tenure.device, () => this.#bind(tenure));
  }

  /**
   * Closes the ports of that epoch or an older one; waiting visitors are told that the device is offline. An older epoch
   * may be bound afterwards: a tenure that was never confirmed gives way to the one before it.
   */
  unbind(name: string, epoch: number): Promise<void> {
    this.commands += 1;
    return this.#inTurn(name, async () => {
      const device = this.#devices.get(name);
      const present = device?.tenure?.epoch;
      if (present !== undefined && present > epoch) throw staleEpoch(epoch, present);
      this.#noteChange(name);
      if (device !== undefined) this.#unbind(device, epoch);
    });
  }

  #unbind(device: Device, epoch: number): void {
    for (const endpoint of device.tenure?.ports ?? []) this.#closePort(device, endpoint.public_port);
    this.#change(device, undefined);
    this.forgetIfEmpty(device);
    this.#log.info({ event: 'tenure.unbound', device: device.name, epoch });
  }

  /** To be called when a visitor has gone. */
  forgetIfEmpty(device: Device): void {
    if (device.tenure !== undefined || device.visitors.size > 0 || this.#devices.get(device.name) !== device) return;
    this.#devices.delete(device.name);
  }

  async #bind(tenure: Tenure): Promise<CommandReply<'listener.bind'>> {
    const { device: name, epoch, rev, state } = tenure;
    const known = this.#devices.get(name);
    const present = known?.tenure;
    if (present !== undefined && (epoch < present.epoch || (epoch === present.epoch && rev < present.rev))) {
      throw staleEpoch(epoch, present.epoch);
    }
    const device = known ?? new Device(name, this.#budget);
    const failed = await this.#openAll(device, tenure);
    if (failed.length > 0) {
      const message = `public ${failed.length === 1 ? 'port' : 'ports'} ${failed.join(', ')} cannot be opened`;
      this.#log.warn({ event: 'tenure.bind_failed', device: name, epoch, failed });
      return { ok: false, code: 'unavailable', message, failed };
    }
    const wanted = new Set(tenure.ports.map((endpoint) => endpoint.public_port));
    for (const { public_port } of present?.ports ?? []) if (!wanted.has(public_port)) this.#closePort(device, public_port);
    for (const port of wanted) this.#owners.set(port, device);
    this.#devices.set(name, device);
    this.#noteChange(name);
    this.#change(device, tenure);
    if (tenure.stand_in?.here === true) this.#endStandIn(device, tenure, tenure.stand_in.ms);
    this.#log.debug({ event: 'tenure.bound', device: name, epoch, rev, state, ports: [...wanted] });
    return { ok: true };
  }

  /** Ports that are lent go by themselves: whoever lent them may be gone. A newer tenure has taken over what it wants. */
  #endStandIn(device: Device, tenure: Tenure, ms: number): void {
    const end = async (): Promise<void> => {
      if (device.tenure === tenure) this.#unbind(device, tenure.epoch);
    };
    setTimeout(() => void this.#inTurn(device.name, end), ms).unref();
  }

  #change(device: Device, tenure: Tenure | undefined): void {
    for (const digest of device.digests) if (this.#byDigest.get(digest) === device) this.#byDigest.delete(digest);
    device.change(tenure);
    for (const digest of device.digests) this.#byDigest.set(digest, device);
  }

  /** Answers the ports that could not be opened; those that this very call opened are closed again then. */
  async #openAll(device: Device, tenure: Tenure): Promise<number[]> {
    const opened: number[] = [];
    const failed: number[] = [];
    const open = async ({ public_port: port, scheme }: Endpoint): Promise<void> => {
      const owner = this.#owners.get(port);
      if (owner !== undefined && owner !== device) {
        // The store gives a port to one device at a time: the older tenure has missed its unbind.
        if ((owner.tenure?.epoch ?? 0) >= tenure.epoch) return void failed.push(port);
        this.#closePort(owner, port);
      }
      const had = owner === device;
      const wasOpen = this.#ports.isOpen(port, scheme);
      try {
        await this.#ports.open(port, scheme); // also what a flood had closed for a while
        if (!had && !wasOpen) opened.push(port);
      } catch (err) {
        this.#log.warn({ event: 'port.unavailable', port, err: (err as Error).message });
        failed.push(port);
      }
    };
    await Promise.all(tenure.ports.map(open));
    if (failed.length > 0) for (const port of opened) this.#ports.close(port);
    return failed;
  }

  #closePort(device: Device, port: number): void {
    if (this.#owners.get(port) !== device) return;
    this.#owners.delete(port);
    this.#ports.close(port);
  }

  #changedSince(name: string, mark: number): boolean {
    return (this.#changedAt.get(name) ?? 0) > mark;
  }

  #noteChange(name: string): void {
    this.#clock += 1;
    this.#changedAt.delete(name);
    this.#changedAt.set(name, this.#clock);
    const oldest = this.#changedAt.size > CHANGES_KEPT ? this.#changedAt.keys().next().value : undefined;
    if (oldest !== undefined) this.#changedAt.delete(oldest);
  }

  async #inTurn<T>(name: string, change: () => Promise<T>): Promise<T> {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(change, change);
    this.#turns.set(name, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name);
    }
  }
}

function staleEpoch(epoch: number, present: number): CulvertError {
  return new CulvertError('lease_lost', `epoch ${epoch} is over; the present one is ${present}`);
}
