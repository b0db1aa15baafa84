import { randomBytes } from 'node:crypto';
import type { CommandRequest, OperatorUse } from '@culvert/bus';
import type { Endpoint, ErrorCode } from '@culvert/contracts';
import { type Member, Members, type Moved } from '@culvert/relay';
import { customerOf, digestOf, type MovedBytes, TokenBucket } from '@culvert/service-kit';
import { DevicePolicy } from './device-policy.ts';
import { Slots } from './slots.ts';
import { type WarmBudget, WarmPool } from './warm-pool.ts';

/** What `listener.bind` says of a device; the newest one is the truth. */
export type Tenure = CommandRequest<'listener.bind'>;

/** A visitor who is served here. */
export interface Visitor extends Member {
  /** The epoch of the tenure under which it was accepted, or of a later one that took it over while it waited. */
  epoch: number;
  /** The device's own number of the endpoint. */
  port: number;
  /** No transfer is attached yet. */
  waiting: boolean;
  /** Where it comes from, when that is a public port. */
  address: string | undefined;
  /** All bytes that it has moved so far; set once they flow. */
  running: { readonly moved: Moved } | undefined;
  /** What of them is counted as the device's already. */
  counted: Moved;
  /** Set when it is an operator's connection, which came past the public ports. */
  operator: OperatorUse | undefined;
  end(code: ErrorCode): void;
}

/** What the visitor has moved since it was asked last. */
export function newlyMoved(visitor: Visitor, moved: Moved | undefined = visitor.running?.moved): MovedBytes {
  if (moved === undefined) return {};
  const { toDevice, toVisitor } = visitor.counted;
  visitor.counted = moved;
  return { to_device: moved.toDevice - toDevice, to_visitor: moved.toVisitor - toVisitor };
}

/** Somebody who must act when the tenure changes; not told of its end, which ends every waiting visitor. */
export interface TenureWatcher {
  /** Called after the change, with a tenure that is held or reconnecting. */
  tenureChanged(tenure: Tenure): void;
}

/** A device as this listener knows it: its present tenure, its visitors, its warm transfers. Exists while it is bound or has visitors. */
export class Device {
  readonly name: string;
  readonly visitors = new Members<Visitor>();
  readonly watchers = new Set<TenureWatcher>();
  readonly slots = new Slots();
  readonly policy = new DevicePolicy();
  readonly warm: WarmPool;
  /** Visitors who were refused and are not told yet. */
  heldRefused = 0;
  /** When its last visitor came or went, in milliseconds of `performance.now()`. */
  visitedAt = Number.NEGATIVE_INFINITY;
  /** When a transfer of it was opened last, by the same clock. */
  arrivedAt = Number.NEGATIVE_INFINITY;
  readonly #byAddress = new Map<string, number>();
  #refusals: TokenBucket | undefined;
  #tenure: Tenure | undefined;
  #key: { epoch: number; text: string; digest: string } | undefined;

  constructor(name: string, budget: WarmBudget) {
    this.name = name;
    this.warm = new WarmPool(budget);
  }

  get tenure(): Tenure | undefined {
    return this.#tenure;
  }

  endpointAt(publicPort: number): Endpoint | undefined {
    return this.#tenure?.ports.find((endpoint) => endpoint.public_port === publicPort);
  }

  /** What transfers must present one of: the tokens of the present tenure, and its key if one was given out. */
  get digests(): readonly string[] {
    const digests = this.#tenure?.token_digests ?? [];
    return this.#key === undefined || this.#key.epoch !== this.#tenure?.epoch ? digests : [...digests, this.#key.digest];
  }

  /** The key of the present tenure, for transfers past the edge; undefined when there is no tenure of that epoch. */
  keyOf(epoch: number): string | undefined {
    if (this.#tenure?.epoch !== epoch) return undefined;
    if (this.#key?.epoch !== epoch) {
      const text = randomBytes(32).toString('base64url');
      this.#key = { epoch, text, digest: digestOf(text) };
    }
    return this.#key.text;
  }

  join(visitor: Visitor): void {
    this.visitors.add(visitor);
    this.#count(visitor, 1);
    this.visitedAt = performance.now();
  }

  leave(visitor: Visitor): void {
    if (!this.visitors.delete(visitor)) return;
    this.#count(visitor, -1);
    this.visitedAt = performance.now();
  }

  /** How many visitors are here from this address, or from where it belongs to. */
  visitorsFrom(address: string): number {
    return this.#byAddress.get(customerOf(address)) ?? 0;
  }

  #count({ address }: Visitor, change: number): void {
    if (address === undefined) return;
    const key = customerOf(address);
    const count = (this.#byAddress.get(key) ?? 0) + change;
    if (count > 0) this.#byAddress.set(key, count);
    else this.#byAddress.delete(key);
  }

  /** One more visitor is refused: is it one of the first `perSecond`? */
  tellsRefusal(perSecond: number): boolean {
    this.#refusals ??= new TokenBucket(perSecond, perSecond);
    return this.#refusals.take();
  }

  get waiting(): number {
    let count = 0;
    for (const visitor of this.visitors) if (visitor.waiting) count += 1;
    return count;
  }

  /** Do so many visitors wait? They are counted only if there are as many at all. */
  holdsWaiting(count: number): boolean {
    return this.visitors.size >= count && this.waiting >= count;
  }

  change(tenure: Tenure | undefined): void {
    const before = this.#tenure;
    this.#tenure = tenure;
    if (tenure !== undefined) {
      this.slots.limit = tenure.transfers;
      this.policy.change(tenure.policy);
    }
    const offline = tenure === undefined || tenure.state === 'grace';
    for (const visitor of [...this.visitors]) {
      if (!visitor.waiting) continue;
      if (offline) visitor.end('device_offline');
      else visitor.epoch = tenure.epoch;
    }
    if (offline) this.warm.close('device_offline');
    else if (tenure.mode === 'replace' && before !== undefined && before.epoch !== tenure.epoch) this.warm.retire();
    if (!offline) for (const watcher of [...this.watchers]) watcher.tenureChanged(tenure);
  }

  /** Ends every visitor of the epoch and of older ones, and all warm transfers; answers how many visitors. */
  cut(epoch: number, code: ErrorCode): number {
    const visitors = [...this.visitors].filter((visitor) => visitor.epoch <= epoch);
    for (const visitor of visitors) visitor.end(code);
    if ((this.#tenure?.epoch ?? 0) <= epoch) this.warm.close(code);
    return visitors.length;
  }

  /** Ends the visitors of these endpoints, operators excepted; warm transfers stay. Answers how many visitors. */
  cutEndpoints(epoch: number, code: ErrorCode, ports: readonly number[]): number {
    const visitors = [...this.visitors].filter(
      (visitor) => visitor.epoch <= epoch && visitor.operator === undefined && ports.includes(visitor.port),
    );
    for (const visitor of visitors) visitor.end(code);
    return visitors.length;
  }
}
