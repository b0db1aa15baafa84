import type net from 'node:net';

/** Finds peers that vanished without a word while nothing is to be sent. */
export const KEEPALIVE_MS = 60_000;

/** TCP keepalive for sockets that live on when the sweep first sees them: four system calls that a short visitor needs not. */
export class Keepalive {
  readonly #socket: net.Socket;
  #set = false;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  check(): void {
    if (this.#set) return;
    this.#set = true;
    this.#socket.setKeepAlive(true, KEEPALIVE_MS);
  }
}
