/** So many a second on average, and some at once. */
export class TokenBucket {
  readonly #rate: number;
  readonly #most: number;
  #left: number;
  #at: number;

  /** @param perSecond How many come back in a second. @param burst Most at once; there at the beginning. */
  constructor(perSecond: number, burst: number, now = performance.now()) {
    this.#rate = perSecond;
    this.#most = burst;
    this.#left = burst;
    this.#at = now;
  }

  /** Takes one; false when there is none. */
  take(now = performance.now()): boolean {
    this.#refill(now);
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** In how many milliseconds there is one. */
  waitMs(now = performance.now()): number {
    this.#refill(now);
    return this.#left >= 1 ? 0 : Math.ceil(((1 - this.#left) / this.#rate) * 1000);
  }

  /** All are there: it may be forgotten. */
  full(now = performance.now()): boolean {
    this.#refill(now);
    return this.#left >= this.#most;
  }

  #refill(now: number): void {
    this.#left = Math.min(this.#most, this.#left + ((now - this.#at) * this.#rate) / 1000);
    this.#at = now;
  }
}

/** Addresses of which it is known how often they came; beyond that the longest known are forgotten. */
const MOST_ADDRESSES = 20_000;

/** A bucket for each address. */
export class AddressRates {
  readonly #buckets = new Map<string, TokenBucket>();
  readonly #perSecond: number;
  readonly #burst: number;

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
  }

  get size(): number {
    return this.#buckets.size;
  }

  /** One more by this address; false when it comes too often. */
  take(address: string): boolean {
    return this.#of(address).take();
  }

  /** In how many milliseconds the address may come again; 0: now. */
  waitMs(address: string): number {
    return this.#buckets.get(customerOf(address))?.waitMs() ?? 0;
  }

  #of(address: string): TokenBucket {
    const key = customerOf(address);
    const known = this.#buckets.get(key);
    if (known !== undefined) return known;
    if (this.#buckets.size >= MOST_ADDRESSES) this.#forget();
    const bucket = new TokenBucket(this.#perSecond, this.#burst);
    this.#buckets.set(key, bucket);
    return bucket;
  }

  /** Those that are full say nothing; when all say something, the longest known goes. */
  #forget(): void {
    for (const [key, bucket] of this.#buckets) if (bucket.full()) this.#buckets.delete(key);
    const oldest = this.#buckets.size >= MOST_ADDRESSES ? this.#buckets.keys().next().value : undefined;
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}

/** Whom an address stands for: of an IPv6 one the first 64 bits, as one host has all of the others. */
export function customerOf(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address;
  const [left = '', right] = address.split('%', 1)[0]?.split('::', 2) ?? [];
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const all =
    right === undefined ? head : [...head, ...Array<string>(Math.max(0, 8 - head.length - tail.length)).fill('0'), ...tail];
  return all.slice(0, 4).join(':').toLowerCase();
}
