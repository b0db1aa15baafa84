import { applyMask } from './mask.ts';

/** Longest frame header: 2 bytes, 8 of length, 4 of mask. Keep this much free in front of a payload and no copy is needed. */
export const HEADROOM = 14;

export const OPCODE = { continuation: 0x0, text: 0x1, binary: 0x2, close: 0x8, ping: 0x9, pong: 0xa } as const;
export type Opcode = (typeof OPCODE)[keyof typeof OPCODE];

/** Longest payload of a control frame (RFC 6455, 5.5). */
export const CONTROL_PAYLOAD_MAX = 125;

/**
 * Writes the header of an unfragmented frame so that it ends where the payload begins.
 *
 * @param bytes Holds the payload at `payloadAt`; the `HEADROOM` bytes before it are free.
 * @param mask Four bytes: a client's frame. The payload is *not* masked here (see `applyMask`). Undefined: a server's frame.
 * @returns Where the frame starts in `bytes`.
 */
export function putHeader(
  bytes: Uint8Array,
  payloadAt: number,
  length: number,
  opcode: Opcode,
  mask: Uint8Array | undefined,
): number {
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const start = payloadAt - 2 - extended - (mask === undefined ? 0 : 4);
  if (start < 0) throw new RangeError(`a frame header needs up to ${HEADROOM} bytes in front of its payload, got ${payloadAt}`);
  const lengthAt = start + 2;
  bytes[start] = 0x80 | opcode;
  bytes[start + 1] = (mask === undefined ? 0 : 0x80) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) {
    bytes[lengthAt] = length >>> 8;
    bytes[lengthAt + 1] = length;
  } else if (extended === 8) {
    const high = Math.floor(length / 2 ** 32);
    for (let i = 0; i < 4; i++) bytes[lengthAt + i] = high >>> (24 - 8 * i);
    for (let i = 0; i < 4; i++) bytes[lengthAt + 4 + i] = length >>> (24 - 8 * i);
  }
  if (mask !== undefined) bytes.set(mask, payloadAt - 4);
  return start;
}

/** Where a stream of frames stands: in a binary message that came in one frame, or behind one. */
export interface BinaryPlace {
  /** Bytes of its payload that are still to come; 0: the next byte begins another frame. */
  left: number;
  /** Its mask, as it goes for the next byte. All zero: none. */
  mask: Uint8Array;
}

/**
 * The header of a binary message that comes whole in one frame and is not empty, at the beginning of `bytes`.
 *
 * @param masked Frames must have a mask: they are a client's.
 * @returns Undefined for everything else, valid or not, and for headers that are not complete.
 */
export function readBinaryHeader(
  bytes: Uint8Array,
  masked: boolean,
): { size: number; length: number; mask: Uint8Array } | undefined {
  const [first, second] = bytes;
  if (first !== (0x80 | OPCODE.binary) || second === undefined || second >= 0x80 !== masked) return undefined;
  const short = second & 0x7f;
  const extended = short < 126 ? 0 : short === 126 ? 2 : 8;
  const size = 2 + extended + (masked ? 4 : 0);
  if (bytes.length < size) return undefined;
  let length = extended === 0 ? short : 0;
  for (let i = 2; i < 2 + extended; i++) length = length * 256 + (bytes[i] as number);
  const least = extended === 0 ? 1 : extended === 2 ? 126 : 65_536;
  if (length < least || length > Number.MAX_SAFE_INTEGER) return undefined;
  return { size, length, mask: masked ? Uint8Array.from(bytes.subarray(size - 4, size)) : new Uint8Array(4) };
}

/** A whole frame in a buffer of its own; the payload is copied, and masked when there is a mask. */
export function encodeFrame(opcode: Opcode, payload: Uint8Array, mask?: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(HEADROOM + payload.length);
  bytes.set(payload, HEADROOM);
  return sealed(bytes, payload.length, opcode, mask);
}

/** The frame of the payload behind HEADROOM. */
function sealed(bytes: Buffer, length: number, opcode: Opcode, mask: Uint8Array | undefined): Buffer {
  const start = putHeader(bytes, HEADROOM, length, opcode, mask);
  if (mask !== undefined) applyMask(bytes, HEADROOM, bytes.length, mask);
  return bytes.subarray(start);
}

export function encodeText(text: string, mask?: Uint8Array): Buffer {
  if (text.length <= SHORT_TEXT) {
    const bytes = Buffer.allocUnsafe(HEADROOM + text.length);
    if (putAscii(bytes, text)) return sealed(bytes, text.length, OPCODE.text, mask);
  }
  const length = Buffer.byteLength(text);
  const bytes = Buffer.allocUnsafe(HEADROOM + length);
  bytes.write(text, HEADROOM, 'utf8');
  return sealed(bytes, length, OPCODE.text, mask);
}

/** Up to this length, characters are done one by one: to call out of JavaScript would cost more. */
const SHORT_TEXT = 128;

/** Writes the text behind HEADROOM; false if it has characters that UTF-8 takes more than a byte for. */
function putAscii(bytes: Uint8Array, text: string): boolean {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits |= bytes[HEADROOM + i] = text.charCodeAt(i);
  return bits < 0x80;
}

const NOTHING = new Uint8Array(0);

/** END: the empty binary message that says that the sender's direction is over. */
export function encodeEnd(mask?: Uint8Array): Buffer {
  return encodeFrame(OPCODE.binary, NOTHING, mask);
}

/** A close frame. A reason over 123 bytes of UTF-8 is cut at a character's border. */
export function encodeClose(code: number, reason: string, mask?: Uint8Array): Buffer {
  let text = Buffer.from(reason, 'utf8');
  if (text.length > CONTROL_PAYLOAD_MAX - 2) {
    let cut = CONTROL_PAYLOAD_MAX - 2;
    while (cut > 0 && ((text[cut] as number) & 0xc0) === 0x80) cut--;
    text = text.subarray(0, cut);
  }
  const payload = Buffer.allocUnsafe(2 + text.length);
  payload.writeUInt16BE(code, 0);
  text.copy(payload, 2);
  return encodeFrame(OPCODE.close, payload, mask);
}
