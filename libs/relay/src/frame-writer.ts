import type net from 'node:net';
import { DEFAULT_LIMITS, ERRORS, type ErrorCode } from '@culvert/contracts';
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
import { CLOSE_INTERNAL, CLOSE_NO_CODE, CLOSE_NORMAL, type Role } from './ending.ts';
import { type MaskSource, maskSource } from './masks.ts';

/** Control frames that may wait behind data; a peer that pings without reading gets no more pongs than this holds. */
const CONTROL_BACKLOG = 4096;

/** Writes frames to an upgraded socket. Writes to a socket that has ended are left out: its 'close' tells the owner. */
export class FrameWriter {
  readonly maxFrame: number;
  readonly #socket: net.Socket;
  readonly #mask: MaskSource;
  readonly #pongLimit: number;

  /** @param maxBacklog Bytes of data that may wait at once (one read); control frames come on top. */
  constructor(
    socket: net.Socket,
    options: { role: Role; mask?: 'random' | 'zero'; maxFrame?: number },
    maxBacklog: number = DEFAULT_LIMITS.TRANSFER_BUFFER_BYTES,
  ) {
    this.#socket = socket;
    this.#mask = maskSource(options.role, options.mask);
    this.maxFrame = options.maxFrame ?? DEFAULT_LIMITS.MAX_FRAME_BYTES;
    this.#pongLimit = maxBacklog + CONTROL_BACKLOG;
  }

  /**
   * Sends `bytes[from..to)` as binary frames. With HEADROOM bytes before `from` it is one write without a copy; `bytes` are
   * masked in place, and belong to the writer until `flushed`.
   */
  data(bytes: Buffer, from: number, to: number, flushed: () => void): void {
    if (!this.#socket.writable || from === to) return;
    if (from >= HEADROOM && to - from <= this.maxFrame) {
      const start = this.#seal(bytes, from, from, to, bytes);
      this.#socket.write(bytes.subarray(start, to), flushed);
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

  /** END of our direction. */
  end(): void {
    this.#write(encodeEnd(this.#mask()));
  }

  text(text: string): void {
    this.#write(encodeText(text, this.#mask()));
  }

  message(message: Message): void {
    this.text(encodeMessage(message));
  }

  ping(): void {
    if (this.#socket.writableLength <= this.#pongLimit) this.#write(encodeFrame(OPCODE.ping, NOTHING, this.#mask()));
  }

  pong(payload: Buffer): void {
    if (this.#socket.writableLength <= this.#pongLimit) this.#write(encodeFrame(OPCODE.pong, payload, this.#mask()));
  }

  /** A close frame; its reason is the code, and for faults a text behind it. */
  closeWith(code: ErrorCode, text?: string): void {
    const close = ERRORS[code].close ?? CLOSE_INTERNAL;
    this.#write(encodeClose(close, text === undefined ? code : `${code}: ${text}`, this.#mask()));
  }

  /** Answers the peer's close frame. */
  closeBack(close: number): void {
    this.#write(encodeClose(close === CLOSE_NO_CODE ? CLOSE_NORMAL : close, '', this.#mask()));
  }

  #seal(header: Buffer, headerEnd: number, from: number, to: number, bytes: Buffer): number {
    const mask = this.#mask();
    if (mask !== undefined) applyMask(bytes, from, to, mask);
    return putHeader(header, headerEnd, to - from, OPCODE.binary, mask);
  }

  #write(frame: Buffer): void {
    if (this.#socket.writable) this.#socket.write(frame);
  }
}

const NOTHING = new Uint8Array(0);
