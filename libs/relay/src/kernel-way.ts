import { type KernelPipe, kernelPipe } from './kernel-pipe.ts';

/** A sink that was full so many times, one after the other, is read for by read and write: the kernel spares nothing beside it. */
const TIMES_FULL = 4;
/** Full reads that such a sink must take at once before bytes go on within the kernel again. */
const READS_AFTER_SLOW = 16;

/** How bytes get from a reader's socket to its sink without being read. */
export interface KernelWay {
  /** Bytes in front of them that must be read: a header. 0 while they cannot go this way. */
  peek(): number;
  /**
   * In place of a reader's `use`, with room for `most` bytes behind `bytes[from..to)`: sends these and, through the pipe, up to `most`
   * that the socket has beyond.
   *
   * @returns `at`, as of `use`, and how many `more` went on.
   */
  pass(pipe: KernelPipe, bytes: Buffer, from: number, to: number, most: number): { at: number; more: number };
}

/**
 * Whether a reader's bulk goes on within the kernel:
 *
 *   reading --a full read that the sink took at once--> passing --small reads, a mask, the end--------> reading
 *                                                            \--the sink was full four times in a row--> reading, for 16 full reads at least
 */
export class KernelMode {
  readonly #way: KernelWay | undefined;
  #pipe: KernelPipe | undefined;
  /** Times, one after the other, that the sink did not take all that was passed. */
  #timesFull = 0;
  /** Full reads that the sink took at once; below zero after a slow time. */
  #swift = 0;

  constructor(way: KernelWay | undefined) {
    this.#way = way;
  }

  get on(): boolean {
    return this.#pipe !== undefined;
  }

  /** After a full read of bulk. */
  enter(flushed: boolean): void {
    if (this.on) return;
    this.#swift = flushed ? this.#swift + 1 : Math.min(this.#swift, 0);
    if (this.#swift > 0 && (this.#way?.peek() ?? 0) > 0) this.#pipe = kernelPipe();
  }

  leave(): void {
    this.#pipe = undefined;
    this.#swift = 0;
    this.#timesFull = 0;
  }

  /** Bytes to be read before the kernel has its turn; 0: all of them. */
  peek(): number {
    if (!this.on) return 0;
    const bytes = this.#pipe?.able === true ? (this.#way?.peek() ?? 0) : 0;
    if (bytes === 0) this.leave();
    return bytes;
  }

  /** As of `KernelWay`; nothing is passed while it is not on. */
  pass(bytes: Buffer, from: number, to: number, most: number): { at: number; more: number } {
    if (this.#pipe === undefined || this.#way === undefined) return { at: from, more: 0 };
    return this.#way.pass(this.#pipe, bytes, from, to, most);
  }

  /** To be told after `pass` whether the sink took all. */
  passed(flushed: boolean): void {
    this.#timesFull = flushed ? 0 : this.#timesFull + 1;
    if (this.#timesFull < TIMES_FULL) return;
    this.leave();
    this.#swift = -READS_AFTER_SLOW;
  }
}
