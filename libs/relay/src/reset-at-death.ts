import type net from 'node:net';
import { descriptorOf, loadLibc, SO_LINGER, SOL_SOCKET } from './libc.ts';

/** `struct linger`: that a close waits, for zero seconds, which is to say that it resets; and that it is orderly again. */
const RESETS = new Uint8Array(Int32Array.of(1, 0).buffer);
const ORDERLY = new Uint8Array(Int32Array.of(0, 0).buffer);

/**
 * What a killed process had open, the system closes in order, and a download that ends by the end of its connection would pass for whole. So
 * whoever is in the middle of one has a socket that resets when it is closed, until its direction has ended. Two system calls, for
 * sockets that live on when the sweep first sees them. Only on Linux with `koffi`; elsewhere, and over TLS, which says its own end, it stays as it was.
 */
export class ResetAtDeath {
  readonly #socket: net.Socket;
  #set: boolean | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  check(): void {
    this.#set ??= this.#say(RESETS);
  }

  /** The peer has been told an orderly end, or is about to be. Not to be checked any more after this. */
  clear(): void {
    if (this.#set) this.#say(ORDERLY);
    this.#set = false;
  }

  #say(linger: Uint8Array): boolean {
    const fd = descriptorOf(this.#socket);
    return fd >= 0 && loadLibc()?.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger, linger.length) === 0;
  }
}
