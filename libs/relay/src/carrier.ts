import { applyMask, HEADROOM, OPCODE, putHeader } from '@culvert/wire';
import {
  F_SETPIPE_SZ,
  type Libc,
  MSG_DONTWAIT,
  MSG_MORE,
  MSG_NOSIGNAL,
  O_CLOEXEC,
  O_NONBLOCK,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
} from './libc.ts';
import { giveSlab, SLAB_SIZES, takeSlab } from './slab.ts';

/** Carries bytes from one socket to another. What the second one does not take stays in it: one `fill`, then `drain` until nothing is held. */
export interface Carrier {
  /** Bytes that wait for the sink, headers included. */
  readonly held: number;
  /**
   * Takes up to `most` bytes that are there to be read, and applies a mask to them.
   *
   * @returns How many; 0 at the end of the stream, -1 when the call failed.
   */
  fill(from: number, most: number, mask: Uint8Array | undefined): number;
  /** Puts the header of a binary frame in front of what was taken. */
  frame(mask: Uint8Array | undefined): void;
  /** Sends as much as the sink takes; -1 when that is not all, and `errno` says why. */
  drain(to: number): number;
  /** Takes out what is held. */
  rest(): Buffer;
  close(): void;
}

/** Within the kernel, by splice(2): the bytes are never copied. For payload that no mask hides. */
export class PipeCarrier implements Carrier {
  readonly #libc: Libc;
  readonly #out: number;
  readonly #in: number;
  readonly #header = Buffer.alloc(HEADROOM);
  #headerAt = HEADROOM;
  #piped = 0;

  /** @throws Error where there is no pipe to be had. */
  constructor(libc: Libc) {
    const ends: [number, number] = [-1, -1];
    if (libc.pipe2(ends, O_NONBLOCK | O_CLOEXEC) !== 0) throw new Error(`no pipe: errno ${libc.errno()}`);
    [this.#out, this.#in] = ends;
    libc.fcntl(this.#in, F_SETPIPE_SZ, SLAB_SIZES[2]); // where that is refused it holds less
    this.#libc = libc;
  }

  get held(): number {
    return this.#piped + HEADROOM - this.#headerAt;
  }

  fill(from: number, most: number): number {
    const count = this.#libc.splice(from, null, this.#in, null, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count > 0) this.#piped += count;
    return count;
  }

  frame(mask: Uint8Array | undefined): void {
    this.#headerAt = putHeader(this.#header, HEADROOM, this.#piped, OPCODE.binary, mask);
  }

  drain(to: number): number {
    while (this.#headerAt < HEADROOM) {
      const header = this.#header.subarray(this.#headerAt);
      const count = this.#libc.send(to, header, header.length, MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE);
      if (count <= 0) return -1;
      this.#headerAt += count;
    }
    while (this.#piped > 0) {
      const count = this.#libc.splice(this.#out, null, to, null, this.#piped, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (count <= 0) return -1;
      this.#piped -= count;
    }
    return 0;
  }

  rest(): Buffer {
    const bytes = Buffer.allocUnsafeSlow(this.held);
    let count = this.#header.copy(bytes, 0, this.#headerAt);
    this.#headerAt = HEADROOM;
    while (this.#piped > 0) {
      const room = bytes.subarray(count);
      const more = this.#libc.read(this.#out, room, room.length);
      if (more <= 0) throw new Error(`a pipe did not give back what it took: errno ${this.#libc.errno()}`);
      count += more;
      this.#piped -= more;
    }
    return bytes;
  }

  close(): void {
    this.#libc.close(this.#in);
    this.#libc.close(this.#out);
  }
}

/** By read(2) and send(2), in a buffer with room for a header in front: for payload with a mask. */
export class BufferCarrier implements Carrier {
  readonly #libc: Libc;
  readonly #bytes: Buffer;
  #from = HEADROOM;
  #to = HEADROOM;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#bytes = takeSlab(2);
  }

  get held(): number {
    return this.#to - this.#from;
  }

  fill(from: number, most: number, mask: Uint8Array | undefined): number {
    const room = this.#bytes.subarray(HEADROOM);
    const count = this.#libc.read(from, room, Math.min(most, room.length));
    if (count <= 0) return count;
    this.#from = HEADROOM;
    this.#to = HEADROOM + count;
    if (mask !== undefined) applyMask(this.#bytes, HEADROOM, this.#to, mask);
    return count;
  }

  frame(mask: Uint8Array | undefined): void {
    this.#from = putHeader(this.#bytes, HEADROOM, this.#to - HEADROOM, OPCODE.binary, mask);
  }

  drain(to: number): number {
    while (this.#from < this.#to) {
      const bytes = this.#bytes.subarray(this.#from, this.#to);
      const count = this.#libc.send(to, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count <= 0) return -1;
      this.#from += count;
    }
    return 0;
  }

  rest(): Buffer {
    const bytes = Buffer.from(this.#bytes.subarray(this.#from, this.#to));
    this.#from = this.#to;
    return bytes;
  }

  close(): void {
    giveSlab(this.#bytes);
  }
}
