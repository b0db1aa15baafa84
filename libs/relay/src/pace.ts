/** Who waits for the pace to go on. */
export interface Paced {
  update(): void;
}

/** A read is at most this part of a second's bytes, so that no single one uses the pace up for long. */
const SHARE = 10;
const LEAST_SHARE = 256;
/** The timer of a pace is not set finer than this: what was read too early is waited for afterwards. */
const LEAST_WAIT_MS = 5;

/**
 * Bytes a second for all readers that share it: they read on until the bytes are used up, then all of them wait. Nothing that
 * was read is dropped or kept; the kernel's own buffers slow the sender down. One timer, and only while somebody waits.
 */
export class Pace {
  readonly #waiting = new Set<Paced>();
  readonly #now: () => number;
  #rate: number;
  /** Below zero: how much was read too early. */
  #left: number;
  #at: number;
  #timer: NodeJS.Timeout | undefined;

  /** @param bytesPerSecond `Infinity`: no limit, and no cost. As much as a tenth of a second brings may come at once. */
  constructor(bytesPerSecond = Number.POSITIVE_INFINITY, now: () => number = () => performance.now()) {
    this.#rate = bytesPerSecond;
    this.#now = now;
    this.#at = now();
    this.#left = this.share;
  }

  /** Whether it holds anybody at all. */
  get limited(): boolean {
    return this.#rate !== Number.POSITIVE_INFINITY;
  }

  /** Largest read, in bytes. */
  get share(): number {
    return Math.max(LEAST_SHARE, Math.floor(this.#rate / SHARE));
  }

  /** From now on, another rate, for who waits as well. */
  set bytesPerSecond(rate: number) {
    if (rate === this.#rate) return;
    this.#at = this.#now();
    this.#rate = rate;
    this.#left = this.share;
    this.#go();
  }

  spend(bytes: number): void {
    if (this.#rate === Number.POSITIVE_INFINITY) return;
    this.#refill();
    this.#left -= bytes;
  }

  /** True while the reader must not read: its `update` is called when it may. */
  holds(reader: Paced): boolean {
    if (this.#rate === Number.POSITIVE_INFINITY) return false;
    if (this.#timer === undefined) {
      this.#refill();
      if (this.#left > 0) return false;
      const waitMs = Math.max(LEAST_WAIT_MS, Math.ceil((1 - this.#left) / (this.#rate / 1000)));
      this.#timer = setTimeout(this.#go, waitMs);
    }
    this.#waiting.add(reader);
    return true;
  }

  readonly #go = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const readers = [...this.#waiting];
    this.#waiting.clear();
    for (const reader of readers) reader.update();
  };

  #refill(): void {
    const now = this.#now();
    this.#left = Math.min(this.share, this.#left + ((now - this.#at) * this.#rate) / 1000);
    this.#at = now;
  }
}
