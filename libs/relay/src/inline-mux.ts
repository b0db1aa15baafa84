import { CulvertError, INLINE_DATA_MAX } from '@culvert/contracts';
import { INLINE_HEADER, InlineChannels } from '@culvert/wire';
import { CLOSE_BROKEN, CLOSE_NORMAL } from './ending.ts';
import { type InlineCarrier, InlineStream } from './inline-stream.ts';
import { type Swept, sweep } from './sweep.ts';

/** The control connection that carries it. */
export interface InlineLink {
  /** Bytes handed over that the kernel has not taken yet. */
  readonly unsent: number;
  /** Sends the payload as one binary message. */
  sendBinary(payload: Buffer, flushed: () => void): void;
}

export interface InlineMuxOptions {
  role: 'device' | 'server';
  /** How many channels were granted. */
  count: number;
  /** Bytes of one channel that may wait here unread. */
  windowBytes: number;
  /** Longest binary message that the peer takes. */
  maxFrame: number;
  /** A CLOSE must be answered within this time; also the write deadline. */
  writeMs: number;
  link: InlineLink;
  /** The peer does not answer: the control connection is to be ended. */
  onFault(error: CulvertError): void;
}

/** Data is handed to the link while less than this is unsent: heartbeats and messages never wait behind more. */
const UNSENT_MAX = 32_768;

interface Pending {
  bytes: Buffer;
  at: number;
  flushed: (error?: Error | null) => void;
}

/**
 * The inline transfers of one control connection, of either end: credit, turns, and the ends of them. Data goes out in turns,
 * one message for each stream that has bytes and credit; CREDIT, END and CLOSE go at once.
 */
export class InlineMux implements InlineCarrier, Swept {
  readonly #options: InlineMuxOptions;
  readonly #channels: InlineChannels;
  readonly #streams = new Map<number, InlineStream>();
  /** In the order of their turns; a Map keeps the order of insertion. */
  readonly #pending = new Map<InlineStream, Pending>();
  readonly #unspoken = new Map<InlineStream, number>();
  /** CLOSEs that wait for their answer: channel and since when. */
  readonly #closing = new Map<number, number>();
  readonly #most: number;
  readonly #waiting = new Set<() => void>();
  #over = false;

  constructor(options: InlineMuxOptions) {
    this.#options = options;
    this.#channels = new InlineChannels(options.role, options.count);
    this.#most = Math.min(INLINE_DATA_MAX, options.maxFrame - INLINE_HEADER);
    sweep.add(this, options.writeMs);
  }

  /** Streams that are not closed by both ends. */
  get size(): number {
    return this.#streams.size;
  }

  /** The lowest free channel; undefined when all are taken. */
  get free(): number | undefined {
    return this.#over ? undefined : this.#channels.free;
  }

  /** Resolves true as soon as `wanted` holds, which is looked at when a channel becomes free; false after `ms`, or at the end. */
  async until(wanted: () => boolean, ms: number): Promise<boolean> {
    const end = performance.now() + ms;
    while (!this.#over && !wanted()) {
      const left = end - performance.now();
      if (left <= 0) return false;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, left);
        const waiting = this.#waiting;
        function done(): void {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        }
        waiting.add(done);
      });
    }
    return !this.#over;
  }

  /**
   * Opens a channel: a device then sends `open` with its window as credit, a server has just got one.
   *
   * @param credit What the device is ready to receive.
   * @throws CulvertError `protocol_error` when the channel is not free.
   */
  open(channel: number, credit: number): InlineStream {
    this.#channels.open(channel, credit);
    const stream = new InlineStream(this, channel, this.#options.windowBytes);
    this.#streams.set(channel, stream);
    return stream;
  }

  /** Lets the device send on a channel for the first time. */
  admit(stream: InlineStream): void {
    if (this.#streams.get(stream.channel) === stream) this.#grant(stream, this.#options.windowBytes);
  }

  /**
   * A binary message came on the control connection.
   *
   * @throws CulvertError when it is a violation; the control connection is to be ended with it.
   */
  receive(message: Buffer): void {
    if (this.#over) return;
    const event = this.#channels.receive(message);
    const stream = this.#streams.get(event.channel);
    if (stream === undefined) return;
    if (event.kind === 'data') stream.receive(message.subarray(INLINE_HEADER));
    else if (event.kind === 'end') stream.receiveEnd();
    else if (event.kind === 'credit') this.#pump();
    else if (event.kind === 'close') this.#onClose(stream, event.code);
  }

  /** The control connection is gone, and all streams with it. */
  end(): void {
    if (this.#over) return;
    this.#over = true;
    sweep.delete(this);
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#pending.clear();
    for (const stream of streams) {
      stream.onPeerClose(CLOSE_BROKEN);
      stream.destroy();
    }
    this.#tellWaiting();
  }

  send(stream: InlineStream, bytes: Buffer, flushed: (error?: Error | null) => void): void {
    if (this.#over || this.#streams.get(stream.channel) !== stream) return; // nobody waits for it any more
    this.#pending.set(stream, { bytes, at: 0, flushed });
    this.#pump();
  }

  sendEnd(stream: InlineStream): void {
    this.#say(this.#live(stream) ? this.#channels.end(stream.channel) : undefined);
  }

  consumed(stream: InlineStream, bytes: number): void {
    const owed = (this.#unspoken.get(stream) ?? 0) + bytes;
    const { windowBytes } = this.#options;
    if (!this.#live(stream)) this.#unspoken.delete(stream);
    else if (owed * 2 < windowBytes) this.#unspoken.set(stream, owed);
    else this.#grant(stream, owed);
  }

  close(stream: InlineStream, code: number): void {
    if (!this.#live(stream)) return;
    this.#pending.delete(stream);
    const message = this.#channels.close(stream.channel, code);
    if (message === undefined) return;
    this.#say(message);
    this.#closing.set(stream.channel, performance.now());
  }

  /** For the sweep. */
  check(now: number): void {
    for (const since of this.#closing.values()) {
      if (now - since < this.#options.writeMs) continue;
      this.#options.onFault(new CulvertError('protocol_error', `CLOSE was not answered within ${this.#options.writeMs} ms`));
      return;
    }
  }

  #live(stream: InlineStream): boolean {
    return !this.#over && this.#streams.get(stream.channel) === stream;
  }

  #grant(stream: InlineStream, bytes: number): void {
    this.#unspoken.delete(stream);
    this.#say(this.#channels.grant(stream.channel, bytes));
  }

  #onClose(stream: InlineStream, code: number): void {
    this.#closing.delete(stream.channel);
    this.#say(this.#channels.close(stream.channel, CLOSE_NORMAL));
    this.#streams.delete(stream.channel);
    this.#pending.delete(stream);
    this.#unspoken.delete(stream);
    stream.onPeerClose(code);
    this.#tellWaiting();
  }

  #tellWaiting(): void {
    for (const tell of [...this.#waiting]) tell();
  }

  #say(message: Buffer | undefined): void {
    if (message !== undefined && !this.#over) this.#options.link.sendBinary(message, () => {});
  }

  readonly #pump = (): void => {
    while (!this.#over && this.#options.link.unsent < UNSENT_MAX) {
      const turn = this.#next();
      if (turn === undefined) return;
      const [stream, pending] = turn;
      const count = Math.min(pending.bytes.length - pending.at, this.#channels.sendable(stream.channel), this.#most);
      const message = this.#channels.data(stream.channel, pending.bytes, pending.at, pending.at + count);
      pending.at += count;
      this.#pending.delete(stream);
      const done = pending.at === pending.bytes.length;
      if (!done) this.#pending.set(stream, pending); // behind the others
      this.#options.link.sendBinary(message, () => {
        stream.bytesTaken += count;
        if (done) pending.flushed();
        this.#pump();
      });
    }
  };

  #next(): [InlineStream, Pending] | undefined {
    for (const turn of this.#pending) if (this.#channels.sendable(turn[0].channel) > 0) return turn;
    return undefined;
  }
}
