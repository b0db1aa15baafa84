import { BlockList, isIP } from 'node:net';
import type { Policy } from '@culvert/bus';
import { Pace } from '@culvert/relay';
import { parseNetwork, TokenBucket } from '@culvert/service-kit';

/** What the operators allow a device, as this listener enforces it. A change holds at once, for visitors who are there as well. */
export class DevicePolicy {
  /** Bytes a second of all its visitors together. */
  readonly pace = new Pace();
  /** Visitors at once. */
  visitors = Number.POSITIVE_INFINITY;
  /** Visitors at once from one address; undefined: the limit decides, as below. */
  visitorsPerAddress: number | undefined;
  /** How long a visitor may be silent. */
  idleMs: number | undefined;
  #spentUntil = 0;
  #changedAt = Number.NEGATIVE_INFINITY;
  #json = '{}';
  #newVisitors: TokenBucket | undefined;
  #standard: TokenBucket | undefined;
  readonly #allowed = new Map<number, BlockList>();

  change(policy: Policy = {}): void {
    const json = JSON.stringify(policy);
    if (json === this.#json) return; // told again: buckets stay as they are
    this.#json = json;
    this.#spentUntil = 0; // the next report says whether the new cap is reached
    this.#changedAt = performance.now();
    const {
      visitors,
      visitors_per_address,
      visitors_per_second: rate,
      bytes_per_second: bytes,
      idle_seconds,
      allow = [],
    } = policy;
    this.visitors = visitors ?? Number.POSITIVE_INFINITY;
    this.visitorsPerAddress = visitors_per_address;
    this.idleMs = idle_seconds === undefined ? undefined : idle_seconds * 1000;
    this.pace.bytesPerSecond = bytes ?? Number.POSITIVE_INFINITY;
    this.#newVisitors = rate === undefined ? undefined : new TokenBucket(rate, Math.max(1, rate));
    this.#allowed.clear();
    for (const { port, from } of allow) this.#allowed.set(port, listOf(from));
  }

  /** Its bytes of the day are spent until then (milliseconds since 1970), as was asked at `askedAt`: by a policy that is over it means nothing. */
  spent(until: number, askedAt: number): void {
    if (askedAt > this.#changedAt) this.#spentUntil = until;
  }

  get isSpent(): boolean {
    return this.#spentUntil > Date.now();
  }

  /** May somebody from this address visit the endpoint of that port? */
  allows(port: number, address: string): boolean {
    const list = this.#allowed.get(port);
    if (list === undefined) return true;
    const [bare = ''] = address.split('%', 1); // without the interface of a link-local one
    const version = isIP(bare); // 0: already gone
    return version !== 0 && list.check(bare, version === 6 ? 'ipv6' : 'ipv4');
  }

  /** One more new visitor; false when they come too fast: for the policy, or where it says nothing for `perSecond`. */
  takesVisitor(perSecond: number | undefined): boolean {
    if (this.#newVisitors !== undefined) return this.#newVisitors.take();
    if (perSecond === undefined) return true;
    this.#standard ??= new TokenBucket(perSecond, perSecond);
    return this.#standard.take();
  }
}

/** An entry that cannot be read allows nobody. */
function listOf(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of networks) {
    const network = parseNetwork(text);
    if (network !== undefined) list.addSubnet(network.address, network.prefix, network.family);
  }
  return list;
}
