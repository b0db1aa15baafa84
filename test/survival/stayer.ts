import net from 'node:net';
import { expect } from 'vitest';
import { until } from '../e2e/support.ts';

/** A visitor who stays: every byte comes back. */
export class Stayer {
  readonly #socket: net.Socket;
  #sent = 0;
  #back = 0;
  ended = false;
  constructor(port: number) {
    this.#socket = net.connect({ port, host: '127.0.0.1' });
    this.#socket.on('data', (chunk) => {
      this.#back += chunk.length;
    });
    this.#socket
      .on('error', () => {})
      .on('close', () => {
        this.ended = true;
      });
  }
  async exchange(): Promise<void> {
    this.#sent += 1000;
    this.#socket.write(Buffer.alloc(1000, 1));
    await until('the echo of a visitor who stays', () => (this.ended || this.#back === this.#sent ? true : undefined));
    expect(this.ended).toBe(false);
  }
  close(): void {
    this.#socket.destroy();
  }
}
