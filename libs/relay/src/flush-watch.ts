import type net from 'node:net';
import { bytesTaken } from './adopt.ts';

/**
 * Tells a frozen peer from a slow one: bytes wait, and the kernel has not taken a single one of them for as long as the
 * write deadline. Looked at by the sweep, so it costs nothing per write.
 */
export class FlushWatch {
  readonly #socket: net.Socket;
  #taken = -1;
  #since = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  frozen(now: number, limitMs: number): boolean {
    const taken = bytesTaken(this.#socket);
    if (this.#socket.writableLength === 0 || taken !== this.#taken) {
      this.#taken = taken;
      this.#since = now;
      return false;
    }
    return now - this.#since >= limitMs;
  }
}
