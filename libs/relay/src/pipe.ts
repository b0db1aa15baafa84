import type net from 'node:net';
import { Duplex } from 'node:stream';

/** What either end may have read but not handed out, in bytes. */
const READ_AHEAD = 64 * 1024;

/**
 * Two ends of a TCP connection that is none: what is written to one is read from the other, each direction ends by itself,
 * and an end that is destroyed before both directions are over resets the other one. So a WebSocket can stand where a
 * visitor's socket is expected: one splice on either end.
 *
 * A write is flushed when the other end has taken the bytes; they are copied, since the writer's buffer is its own.
 */
export function pipe(): [net.Socket, net.Socket] {
  const [here, there] = [new PipeEnd(), new PipeEnd()];
  here.peer = there;
  there.peer = here;
  // The relay uses of a socket that is none of the kernel's only what PipeEnd has.
  return [here as unknown as net.Socket, there as unknown as net.Socket];
}

class PipeEnd extends Duplex {
  peer: PipeEnd | undefined;
  /** What `bytesTaken` looks at, to tell a slow peer from a frozen one. */
  readonly _handle = { bytesWritten: 0, writeQueueSize: 0 };
  /** Our last write, while the peer has not taken it. */
  #flushed: (() => void) | undefined;

  constructor() {
    super({ allowHalfOpen: true, autoDestroy: false, readableHighWaterMark: READ_AHEAD, writableHighWaterMark: READ_AHEAD });
  }

  setTimeout(): this {
    return this;
  }
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  resetAndDestroy(): this {
    return this.destroy();
  }

  override _read(): void {
    this.peer?.wasTaken();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#flushed = () => {
      this._handle.bytesWritten += chunk.length;
      done();
    };
    this.peer?.push(Buffer.from(chunk));
  }

  override _final(done: (error?: Error | null) => void): void {
    this.peer?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this;
    const orderly = this.writableFinished && this.readableEnded;
    // A turn later, as over a wire: whoever destroys this end may say why before the other end hears of it.
    if (!orderly) setImmediate(() => peer?.wasReset());
    this.#flushed = undefined;
    done(error);
  }

  wasTaken(): void {
    const flushed = this.#flushed;
    this.#flushed = undefined;
    flushed?.();
  }

  wasReset(): void {
    if (!this.destroyed) this.destroy(Object.assign(new Error('the other end was reset'), { code: 'ECONNRESET' }));
  }
}
