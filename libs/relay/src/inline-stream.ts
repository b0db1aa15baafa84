import { Duplex } from 'node:stream';

/** Where a stream's bytes go, and who is told that it has read some. */
export interface InlineCarrier {
  /** Sends the bytes when it is their turn and there is credit; `flushed` when the kernel has taken them. */
  send(stream: InlineStream, bytes: Buffer, flushed: (error?: Error | null) => void): void;
  sendEnd(stream: InlineStream): void;
  /** So many bytes were passed on: the peer may send as many more. */
  consumed(stream: InlineStream, bytes: number): void;
  close(stream: InlineStream, code: number): void;
}

/**
 * One inline transfer, as something to read and write like a TCP socket that allows half-open connections: END is its end.
 * What is unread in it is bounded by the credit that was granted. Whoever owns it calls `closeWith` once; destroying it alone
 * tells the peer nothing.
 */
export class InlineStream extends Duplex {
  readonly channel: number;
  /** Bytes that the kernel has taken so far. */
  bytesTaken = 0;
  /** The peer said CLOSE with this code, or 1006 when the control connection is gone. Called once. */
  onPeerClose: (code: number) => void = () => {};
  /** Both directions have ENDed on the wire. */
  #sentEnd = false;
  #gotEnd = false;
  readonly #carrier: InlineCarrier;
  #received = 0;
  #told = 0;

  /** @param window Bytes that the peer may have unread here. */
  constructor(carrier: InlineCarrier, channel: number, window: number) {
    super({ allowHalfOpen: true, autoDestroy: false, readableHighWaterMark: window, writableHighWaterMark: 1 });
    this.#carrier = carrier;
    this.channel = channel;
    this.on('error', () => {}); // endings are told by 'close' and onPeerClose
  }

  get bothEnded(): boolean {
    return this.#sentEnd && this.#gotEnd;
  }

  /** Bytes came for it. */
  receive(bytes: Buffer): void {
    if (this.destroyed) return;
    this.#received += bytes.length;
    this.push(bytes);
    this.#tell();
  }

  /** END came for it. */
  receiveEnd(): void {
    this.#gotEnd = true;
    if (!this.destroyed) this.push(null);
  }

  /** Says CLOSE, unless that was done, and destroys it. */
  closeWith(code: number): void {
    this.#carrier.close(this, code);
    this.destroy();
  }

  // What code for sockets expects of them.
  setNoDelay(): this {
    return this;
  }
  setKeepAlive(): this {
    return this;
  }
  setTimeout(): this {
    return this;
  }

  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    this.#tell();
    return chunk;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#carrier.send(this, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#sentEnd = true;
    this.#carrier.sendEnd(this);
    done();
  }

  #tell(): void {
    const passedOn = this.#received - this.readableLength - this.#told;
    if (passedOn === 0) return;
    this.#told += passedOn;
    this.#carrier.consumed(this, passedOn);
  }
}
