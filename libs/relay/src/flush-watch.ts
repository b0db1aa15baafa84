import type net from 'node:net';
import { bytesTaken } from './adopt.ts';
import { queuedInKernel } from './kernel-queue.ts';

/** Where the kernel does not say what it holds, a peer may take nothing for so many deadlines before it counts as frozen. */
const BLIND_LOOKS = 4;

/**
 * Tells a frozen peer from a slow one. Bytes wait, and the kernel has not taken a single one of them for as long as the write
 * deadline: that alone is no proof, since it takes more only when a third of its own buffer, which may be megabytes, is free.
 *
 *   moving --nothing taken for a deadline--> look at what the kernel holds --less than at the last look--> moving
 *                                                                        \--as much as at the last look--> frozen
 *
 * So a frozen one is found after one to two deadlines. Called by the sweep: it costs nothing per write.
 */
export class FlushWatch {
  readonly #socket: net.Socket;
  #taken = -1;
  #since = 0;
  #looking = false;
  /** At the last look. */
  #queued: number | undefined;
  /** Looks, one after the other, that showed no change. */
  #unchanged = 0;
  #frozen = false;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  frozen(now: number, limitMs: number): boolean {
    const taken = bytesTaken(this.#socket);
    if (this.#socket.writableLength === 0 || taken !== this.#taken) {
      this.#taken = taken;
      this.#since = now;
      this.#queued = undefined;
      this.#unchanged = 0;
      this.#frozen = false;
    } else if (now - this.#since >= limitMs && !this.#looking) {
      this.#since = now;
      void this.#look(taken);
    }
    return this.#frozen;
  }

  async #look(taken: number): Promise<void> {
    this.#looking = true;
    const queued = await queuedInKernel(this.#socket);
    this.#looking = false;
    if (taken !== this.#taken) return; // it has moved meanwhile
    this.#unchanged = queued === this.#queued ? this.#unchanged + 1 : 0;
    this.#queued = queued;
    this.#frozen = this.#unchanged >= (queued === undefined ? BLIND_LOOKS : 1);
  }
}
