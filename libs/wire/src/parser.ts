import { isUtf8 } from 'node:buffer';
import { CulvertError, DEFAULT_LIMITS, type ErrorCode } from '@culvert/contracts';
import { type BinaryPlace, CONTROL_PAYLOAD_MAX, OPCODE } from './frame.ts';
import { applyMask } from './mask.ts';

/** What a parser tells. All calls are made from within `push`, in the order of the stream. */
export interface FrameHandler {
  /** Bytes of binary messages: `chunk[from..to)`, unmasked in place. The chunk is the one that was pushed. */
  onData(chunk: Buffer, from: number, to: number): void;
  /** END: an empty binary message in one frame. */
  onEnd(): void;
  onText(text: string): void;
  /** A binary message, when `whole` asks for it in one piece; `onData` and `onEnd` are not called then. */
  onBinary?(message: Buffer): void;
  onPing(payload: Buffer): void;
  onPong(payload: Buffer): void;
  /** The peer's close frame; 1005 when it gave no code. Everything after it is ignored. */
  onClose(code: number, reason: string): void;
}

export interface FrameParserOptions {
  /** Our own role: a server insists on masked frames, a client on unmasked ones. */
  role: 'client' | 'server';
  /** Largest binary frame in bytes; a larger one is `too_large`. Default: no limit, since nothing is assembled. */
  maxFrame?: number;
  /** Largest text message in bytes. Default: CONTROL_MESSAGE_BYTES (1,024). */
  maxText?: number;
}

const NOTHING = Buffer.alloc(0);

/**
 * Reads the frames of one WebSocket from chunks of any size. It never assembles binary messages: slices of the pushed
 * chunk go on as they are, so it holds at most one text message or control frame.
 *
 *   header --length known--> payload --last byte--> header ... --close frame--> closed
 *        \--violation--> failed (every later push throws the same error)
 */
export class FrameParser {
  /**
   * True: `push` stops in front of the next byte, or END, of a binary message and returns where. Text and control frames
   * that come before it are still handled. For readers that have no place for data yet.
   */
  hold = false;
  /** Above 0: binary messages are given whole to `onBinary`, must not be fragmented, and have at most so many bytes. */
  whole = 0;
  /** Frames whose header was read, of any kind: the sign of life for deadlines. */
  frames = 0;

  readonly #handler: FrameHandler;
  readonly #masked: boolean;
  readonly #maxFrame: number;
  readonly #maxText: number;

  #phase: 'header' | 'payload' | 'closed' = 'header';
  #fault: CulvertError | undefined;
  readonly #header = new Uint8Array(14);
  #got = 0;
  #need = 2;
  #opcode = 0;
  #fin = true;
  #length = 0;
  #left = 0;
  readonly #mask = new Uint8Array(4);
  /** Within a fragmented binary message. */
  #fragmented = false;
  #small: Buffer = NOTHING;
  /** A text that is known already. */
  #text: string | undefined;
  /** The payload of this frame is handed on as it comes. */
  #streamed = false;
  /** Header and payload of the last frame whose payload was. */
  #lastSize = 0;

  constructor(options: FrameParserOptions, handler: FrameHandler) {
    this.#handler = handler;
    this.#masked = options.role === 'server';
    this.#maxFrame = options.maxFrame ?? Number.MAX_SAFE_INTEGER;
    this.#maxText = options.maxText ?? DEFAULT_LIMITS.CONTROL_MESSAGE_BYTES;
  }

  /**
   * Bytes to the end of the present frame, or, between two, to that of the next one if it is as large as the last: who reads just
   * so many need not hand on the end of one payload and the beginning of another one by one. A guess; 0 for none.
   */
  get ahead(): number {
    if (this.#phase === 'payload') return this.#left;
    return Math.max(0, this.#lastSize - this.#got);
  }

  /**
   * Where the stream stands, for who reads on in place of this parser, binary messages only, and says to `resume` how far it came. Undefined
   * where the stream is within anything else, or data are held.
   */
  get place(): BinaryPlace | undefined {
    if (!this.#streamed || !this.#fin || this.#opcode !== OPCODE.binary || this.hold || this.#fault !== undefined)
      return undefined;
    if (this.#phase === 'payload') {
      const phase = this.#length - this.#left;
      return { left: this.#left, mask: this.#mask.map((_, i) => this.#mask[(phase + i) & 3] as number) };
    }
    return this.#phase === 'header' && this.#got === 0 ? { left: 0, mask: this.#mask.slice() } : undefined;
  }

  resume(place: BinaryPlace): void {
    this.#left = this.#length = place.left;
    this.#mask.set(place.mask);
    this.#phase = place.left > 0 ? 'payload' : 'header';
    if (place.left > 0) return;
    this.#got = 0;
    this.#need = 2;
  }

  /** Whether the peer's close frame has been read. */
  get closed(): boolean {
    return this.#phase === 'closed';
  }

  /**
   * Takes the next bytes of the stream. Returns the index of the first byte not taken: `to`, unless `hold` stopped it; push
   * the rest again, even if it is empty, once `hold` is false.
   *
   * @throws CulvertError `protocol_error` or `too_large`, naming what was wrong.
   */
  push(chunk: Buffer, from = 0, to = chunk.length): number {
    if (this.#fault !== undefined) throw this.#fault;
    let at = from;
    for (;;) {
      if (this.#phase === 'closed') return to;
      if (this.#phase === 'header') {
        while (this.#got < this.#need && at < to) {
          this.#header[this.#got++] = chunk[at++] as number;
          if (this.#got === 2) this.#checkStart();
        }
        if (this.#got < this.#need) return at;
        this.#openFrame();
      }
      const binary = this.#streamed;
      if (binary && this.hold && (this.#left > 0 || this.#isEnd())) return at;
      const count = Math.min(this.#left, to - at);
      if (count > 0) {
        if (this.#masked) applyMask(chunk, at, at + count, this.#mask, (this.#length - this.#left) & 3);
        this.#left -= count;
        at += count;
        if (binary) this.#handler.onData(chunk, at - count, at);
        else this.#keep(chunk, at - count, at);
      }
      if (this.#left > 0) {
        if (at === to) return at;
        continue; // the handler set `hold` and took it back, or holds now: look again
      }
      this.#closeFrame();
    }
  }

  /** A part of a small frame: a text that is whole is read where it stands, everything else in a copy of its own. */
  #keep(chunk: Buffer, from: number, to: number): void {
    if (this.#opcode === OPCODE.text && to - from === this.#length) {
      if (isAscii(chunk, from, to)) this.#text = chunk.toString('latin1', from, to);
      else this.#small = chunk.subarray(from, to);
      return;
    }
    const kept = this.#length - this.#left - (to - from);
    if (kept === 0) this.#small = Buffer.allocUnsafe(this.#length);
    chunk.copy(this.#small, kept, from, to);
  }

  #closeFrame(): void {
    this.#phase = 'header';
    this.#got = 0;
    this.#need = 2;
    if (this.#streamed) this.#closeBinary();
    else this.#closeSmall();
  }

  #isEnd(): boolean {
    return this.#opcode === OPCODE.binary && this.#fin && this.#length === 0;
  }

  /** The first two bytes say whether a frame is legal here, and how long its header is. */
  #checkStart(): void {
    const first = this.#header[0] as number;
    const second = this.#header[1] as number;
    const short = second & 0x7f;
    this.#fin = first >= 0x80;
    this.#opcode = first & 0x0f;
    if ((first & 0x70) !== 0) this.#fail('protocol_error', 'a frame has reserved bits set; no extension was agreed on');
    if (second >= 0x80 !== this.#masked) {
      this.#fail('protocol_error', this.#masked ? 'a frame of the client is not masked' : 'a frame of the server is masked');
    }
    switch (this.#opcode) {
      case OPCODE.continuation:
        if (!this.#fragmented) this.#fail('protocol_error', 'a continuation frame without a message to continue');
        break;
      case OPCODE.text:
        if (!this.#fin) this.#fail('protocol_error', 'a text message is fragmented; expected one frame');
        if (this.#fragmented) this.#fail('protocol_error', 'a text message inside a fragmented binary message');
        break;
      case OPCODE.binary:
        if (this.#fragmented) this.#fail('protocol_error', 'a binary message inside a fragmented binary message');
        if (this.whole > 0 && !this.#fin) this.#fail('protocol_error', 'a binary message is fragmented; expected one frame');
        break;
      case OPCODE.close:
      case OPCODE.ping:
      case OPCODE.pong:
        if (!this.#fin) this.#fail('protocol_error', 'a control frame is fragmented');
        if (short > CONTROL_PAYLOAD_MAX) this.#fail('protocol_error', 'a control frame is longer than 125 bytes');
        break;
      default:
        this.#fail('protocol_error', `opcode ${this.#opcode} is reserved`);
    }
    this.#need = 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + (this.#masked ? 4 : 0);
  }

  #openFrame(): void {
    const header = this.#header;
    const length = this.#readLength();
    if (this.#masked) for (let i = 0; i < 4; i++) this.#mask[i] = header[this.#need - 4 + i] as number;
    if (this.#opcode === OPCODE.text && length > this.#maxText) {
      this.#fail('too_large', `a text message has ${length} bytes; expected at most ${this.#maxText}`);
    }
    const binary = this.#opcode === OPCODE.binary || this.#opcode === OPCODE.continuation;
    const most = this.whole > 0 ? this.whole : this.#maxFrame;
    if (binary && length > most) this.#fail('too_large', `a binary frame has ${length} bytes; expected at most ${most}`);
    this.#streamed = binary && this.whole === 0;
    this.#length = this.#left = length;
    if (this.#streamed) this.#lastSize = this.#need + length;
    this.#phase = 'payload';
    this.frames++;
  }

  #readLength(): number {
    const header = this.#header;
    const short = (header[1] as number) & 0x7f;
    if (short < 126) return short;
    const bytes = short === 126 ? 2 : 8;
    if (bytes === 8 && (header[2] as number) >= 0x80) {
      this.#fail('protocol_error', 'a frame length has its highest bit set; lengths have 63 bits');
    }
    let length = 0;
    for (let i = 0; i < bytes; i++) length = length * 256 + (header[2 + i] as number);
    if (length < (bytes === 2 ? 126 : 65_536)) {
      this.#fail('protocol_error', `length ${length} is written in ${bytes} bytes; expected the shortest form`);
    }
    if (length > Number.MAX_SAFE_INTEGER) this.#fail('too_large', 'a frame is longer than 2^53 bytes');
    return length;
  }

  #closeBinary(): void {
    const end = this.#isEnd();
    this.#fragmented = !this.#fin;
    if (end) this.#handler.onEnd();
  }

  #closeSmall(): void {
    const payload = this.#small;
    this.#small = NOTHING;
    if (this.#opcode === OPCODE.ping) this.#handler.onPing(payload);
    else if (this.#opcode === OPCODE.pong) this.#handler.onPong(payload);
    else if (this.#opcode === OPCODE.binary) this.#handler.onBinary?.(payload);
    else if (this.#opcode === OPCODE.text) this.#closeText(payload);
    else this.#closeStream(payload);
  }

  #closeText(payload: Buffer): void {
    const text = this.#text;
    this.#text = undefined;
    if (text === undefined && !isUtf8(payload)) this.#fail('protocol_error', 'a text message is not UTF-8');
    this.#handler.onText(text ?? payload.toString('utf8'));
  }

  #closeStream(payload: Buffer): void {
    if (payload.length === 1) this.#fail('protocol_error', 'a close frame has one byte; expected none, or a code of two bytes');
    const code = payload.length === 0 ? 1005 : payload.readUInt16BE(0);
    if (payload.length > 0 && !isCloseCode(code)) this.#fail('protocol_error', `close code ${code} may not be sent`);
    const reason = payload.subarray(2);
    if (!isUtf8(reason)) this.#fail('protocol_error', 'the reason of a close frame is not UTF-8');
    this.#phase = 'closed';
    this.#handler.onClose(code, reason.toString('utf8'));
  }

  #fail(code: ErrorCode, message: string): never {
    this.#fault = new CulvertError(code, message);
    throw this.#fault;
  }
}

/** Texts are short: a loop costs less than a call out of JavaScript. */
function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  let bits = 0;
  for (let i = from; i < to; i++) bits |= bytes[i] as number;
  return bits < 0x80;
}

/** Close codes that may stand in a frame: those registered for it by RFC 6455 and its successors, 3000 to 4999 by agreement. */
function isCloseCode(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}
