import { giveSlab, type SlabClass, takeSlab } from './slab.ts';

/** The largest TLS record: what one read brings at most. */
const RECORD_BYTES = 16 << 10;

/**
 * Puts TLS records together: a read brings one of them, and to hand on each by itself would cost more than the encryption.
 * They lie behind each other in a slab, which is begun anew once all of it has been handed on and flushed.
 */
export class RecordBuffer {
  #slab: Buffer | undefined;
  #size: SlabClass = 0;
  #from = 0;
  #to = 0;

  /** Bytes that were gathered and not taken yet. */
  get length(): number {
    return this.#to - this.#from;
  }

  /** There is no room for another record: what is there must be taken now. */
  get full(): boolean {
    return this.#slab !== undefined && this.#slab.length - this.#to < RECORD_BYTES;
  }

  /**
   * Room for the next read, behind what is there.
   *
   * @param wanted The size of the next slab.
   * @param flushed Nobody refers to bytes that were taken.
   */
  room(wanted: SlabClass, flushed: boolean): Buffer {
    if (this.#slab !== undefined && this.length === 0 && flushed) {
      if (wanted === this.#size) this.#from = this.#to = 0;
      else this.#give();
    }
    if (this.#slab === undefined || this.full) {
      this.#slab = takeSlab(wanted); // the collector has the former one: it may still be in a write
      this.#size = wanted;
      this.#from = this.#to = 0;
    }
    return this.#slab.subarray(this.#to);
  }

  /** A read has put so many bytes where `room` said. */
  add(count: number): void {
    this.#to += count;
  }

  /** What was gathered: `bytes[from..to)`. */
  take(): { bytes: Buffer; from: number; to: number } {
    const taken = { bytes: this.#slab as Buffer, from: this.#from, to: this.#to };
    this.#from = this.#to;
    return taken;
  }

  /** No read comes any more. */
  drop(flushed: boolean): void {
    if (flushed) this.#give();
    this.#slab = undefined;
    this.#from = this.#to = 0;
  }

  #give(): void {
    if (this.#slab !== undefined) giveSlab(this.#slab);
    this.#slab = undefined;
  }
}
