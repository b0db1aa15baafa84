import type net from 'node:net';
import { DEFAULT_LIMITS, ERRORS, type ErrorCode, LIMITS } from '@culvert/contracts';
import {
  applyMask,
  encodeClose,
  encodeEnd,
  encodeFrame,
  encodeMessage,
  encodeText,
  HEADROOM,
  type Message,
  OPCODE,
  putHeader,
} from '@culvert/wire';
import { bulkThread, type Loan, type OnBack, restOf } from './bulk.ts';
import type { BulkOrder } from './bulk-job.ts';
import { CLOSE_INTERNAL, CLOSE_NO_CODE, CLOSE_NORMAL, type Role } from './ending.ts';
import { flushSoon, notSoon } from './flush-soon.ts';
import { type MaskSource, maskSource } from './masks.ts';
import { write } from './write.ts';

/** Control frames that may wait behind data; a peer that pings without reading gets no more pongs than this holds. */
const CONTROL_BACKLOG = 4096;

/** Up to this size, data share a buffer with their header and with messages before them: copying costs less than a system call. */
const JOINED_BYTES = 16 * 1024;

/** Writes frames to an upgraded socket. Writes to a socket that has ended are left out: its 'close' tells the owner. */
export class FrameWriter {
  readonly maxFrame: number;
  readonly #socket: net.Socket;
  readonly #role: Role;
  readonly #mask: MaskSource;
  readonly #zeroMask: boolean;
  readonly #pongLimit: number;
  readonly #onFlushed: () => void;
  /** Small frames of this turn that are not written yet, so that they share a system call. */
  #waiting: Buffer[] = [];
  #flushing = false;
  /** The bulk thread writes frames: ours wait. */
  #loan: Loan | undefined;
  #ending = false;

  /**
   * @param maxBacklog Bytes of data that may wait at once (one read); control frames come on top.
   * @param onFlushed A write that is none of data was flushed: whoever waits for an empty socket may go on.
   */
  constructor(
    socket: net.Socket,
    options: { role: Role; mask?: 'random' | 'zero'; maxFrame?: number },
    maxBacklog: number = DEFAULT_LIMITS.TRANSFER_BUFFER_BYTES,
    onFlushed: () => void = () => {},
  ) {
    this.#socket = socket;
    this.#role = options.role;
    this.#mask = maskSource(options.role, options.mask);
    this.#zeroMask = options.mask === 'zero';
    this.maxFrame = options.maxFrame ?? (options.role === 'client' ? LIMITS.MAX_FRAME_BYTES.max : DEFAULT_LIMITS.MAX_FRAME_BYTES);
    this.#pongLimit = maxBacklog + CONTROL_BACKLOG;
    this.#onFlushed = onFlushed;
  }

  /**
   * Sends `bytes[from..to)` as binary frames. With HEADROOM bytes before `from` it is one write without a copy; `bytes` are
   * masked in place, and belong to the writer until `flushed`. Without, few bytes are copied, many are two writes a frame.
   */
  data(bytes: Buffer, from: number, to: number, flushed: () => void): void {
    if (!this.#socket.writable || from === to) return;
    const hasRoom = from >= HEADROOM;
    if ((this.#waiting.length > 0 || !hasRoom) && to - from <= Math.min(JOINED_BYTES, this.maxFrame)) {
      const frame = hasRoom
        ? bytes.subarray(this.#seal(bytes, from, from, to, bytes), to)
        : encodeFrame(OPCODE.binary, bytes.subarray(from, to), this.#mask());
      write(this.#socket, this.#joined(frame), flushed);
      return;
    }
    this.flush();
    if (hasRoom && to - from <= this.maxFrame) {
      const start = this.#seal(bytes, from, from, to, bytes);
      write(this.#socket, bytes.subarray(start, to), flushed);
      return;
    }
    this.#socket.cork();
    for (let at = from; at < to; at += this.maxFrame) {
      const end = Math.min(to, at + this.maxFrame);
      const header = Buffer.allocUnsafe(HEADROOM);
      const start = this.#seal(header, HEADROOM, at, end, bytes);
      this.#socket.write(header.subarray(start));
      this.#socket.write(bytes.subarray(at, end), flushed);
    }
    this.#socket.uncork();
  }

  /**
   * Has the bulk thread send what `from` says, `most` bytes a frame at most. What else is to be sent recalls it and waits meanwhile.
   *
   * @param flushed As of `data`, for what the socket has not taken when it comes back.
   */
  lend(from: net.Socket, order: Pick<BulkOrder, 'most' | 'queue'>, flushed: () => void, back: OnBack): Loan | undefined {
    const socket = this.#socket;
    this.flush();
    if (!socket.writable || socket.writableLength > 0) return undefined;
    const mask = this.#zeroMask ? 'zero' : 'random';
    this.#loan = bulkThread()?.lend(from, socket, { ...order, role: this.#role, mask }, (report) => {
      this.#loan = undefined;
      if (report === undefined) socket.destroy(); // within a frame, perhaps: whatever followed would be taken for payload
      const rest = report === undefined ? undefined : restOf(report);
      if (rest !== undefined && socket.writable) write(socket, rest, flushed);
      this.flush();
      if (this.#ending) socket.destroySoon();
      back(report);
    });
    return this.#loan;
  }

  /** One binary message in one frame; the payload is copied. */
  binary(payload: Buffer, flushed: () => void): void {
    if (this.#socket.writable) this.#socket.write(encodeFrame(OPCODE.binary, payload, this.#mask()), flushed);
  }

  /** What goes before the first frame: the answer to the handshake. */
  greet(answer: string): void {
    if (this.#socket.writable) this.#socket.write(answer, this.#onFlushed);
  }

  /** END of our direction; it waits for `flush`. */
  end(): void {
    const mask = this.#mask();
    this.#waiting.push(mask === undefined ? UNMASKED_END : encodeEnd(mask));
  }

  text(text: string): void {
    this.#write(encodeText(text, this.#mask()));
  }

  message(message: Message): void {
    this.text(encodeMessage(message));
  }

  /**
   * A message that data are likely to follow: it waits for them, for a while (see `flush-soon.ts`). A server's `assign` does for what
   * its visitor asks, a device's `accepted` for what its target answers.
   */
  messageBeforeData(message: Message): void {
    this.#waiting.push(encodeText(encodeMessage(message), this.#mask()));
    this.#flushing = true;
    flushSoon(this);
  }

  /** Writes what waits to share a system call with what follows. */
  readonly flush = (): void => {
    if (this.#waiting.length === 0) return;
    if (this.#loan !== undefined) {
      this.#loan.recall();
      return;
    }
    const frames = this.#joined();
    if (this.#socket.writable) write(this.#socket, frames, this.#onFlushed);
  };

  ping(): void {
    if (this.#backlog <= this.#pongLimit) this.#write(encodeFrame(OPCODE.ping, NOTHING, this.#mask()));
  }

  pong(payload: Buffer): void {
    if (this.#backlog <= this.#pongLimit) this.#write(encodeFrame(OPCODE.pong, payload, this.#mask()));
  }

  /** A close frame; its reason is the code, and for faults a text behind it. */
  closeWith(code: ErrorCode, text?: string): void {
    const close = ERRORS[code].close ?? CLOSE_INTERNAL;
    this.#write(encodeClose(close, text === undefined ? code : `${code}: ${text}`, this.#mask()));
    this.flush();
  }

  /** Answers the peer's close frame. */
  closeBack(close: number): void {
    this.#write(encodeClose(close === CLOSE_NO_CODE ? CLOSE_NORMAL : close, '', this.#mask()));
    this.flush();
  }

  /** Ends the socket behind all that was to be sent. */
  endSoon(): void {
    if (this.#loan === undefined) this.#socket.destroySoon();
    else this.#ending = true;
  }

  #seal(header: Buffer, headerEnd: number, from: number, to: number, bytes: Buffer): number {
    const mask = this.#mask();
    if (mask !== undefined) applyMask(bytes, from, to, mask);
    return putHeader(header, headerEnd, to - from, OPCODE.binary, mask);
  }

  /** What waits, with `last` behind it. */
  #joined(last?: Buffer): Buffer {
    const frames = this.#waiting;
    this.#waiting = [];
    this.#flushing = false;
    notSoon(this);
    if (last !== undefined) frames.push(last);
    return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
  }

  get #backlog(): number {
    return this.#waiting.reduce((sum, frame) => sum + frame.length, this.#socket.writableLength);
  }

  /** At the end of this callback, with whatever else it says. */
  #write(frame: Buffer): void {
    this.#waiting.push(frame);
    if (this.#flushing) return;
    this.#flushing = true;
    process.nextTick(this.flush);
  }
}

const NOTHING = new Uint8Array(0);
/** The same for every visitor. */
const UNMASKED_END = encodeEnd();
