import { applyMask, encodeFrame, type Opcode } from '@culvert/wire';

/** One frame as it came, whether it is legal or not. */
export interface Frame {
  /** First byte: FIN, reserved bits, opcode. */
  first: number;
  mask: Buffer | undefined;
  /** Unmasked. */
  payload: Buffer;
  /** As it came. */
  raw: Buffer;
}

/** Cuts a stream into frames; checks nothing. */
export class FrameCutter {
  #rest: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): Frame[] {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    for (let frame = this.#cut(); frame !== undefined; frame = this.#cut()) frames.push(frame);
    return frames;
  }

  #cut(): Frame | undefined {
    const bytes = this.#rest;
    if (bytes.length < 2) return undefined;
    const second = bytes[1] as number;
    const short = second & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    const head = 2 + extended + (second >= 0x80 ? 4 : 0);
    if (bytes.length < head) return undefined;
    const length = extended === 0 ? short : extended === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (length > 1 << 21) {
      this.#rest = Buffer.alloc(0);
      return { first: bytes[0] as number, mask: undefined, payload: Buffer.alloc(0), raw: bytes };
    }
    if (bytes.length < head + length) return undefined;
    const mask = second >= 0x80 ? Buffer.from(bytes.subarray(head - 4, head)) : undefined;
    const payload = Buffer.from(bytes.subarray(head, head + length));
    if (mask !== undefined) applyMask(payload, 0, payload.length, mask);
    this.#rest = bytes.subarray(head + length);
    return { first: bytes[0] as number, mask, payload, raw: bytes.subarray(0, head + length) };
  }
}

export const isText = ({ first }: Frame): boolean => first === 0x81;
export const isData = ({ first }: Frame): boolean => first === 0x82;
export const isEnd = (frame: Frame): boolean => isData(frame) && frame.payload.length === 0;
export const isClose = ({ first }: Frame): boolean => first === 0x88;
export const isPong = ({ first }: Frame): boolean => first === 0x8a;

/** The type of a text message; undefined for anything else. */
export function typeOf(frame: Frame): string | undefined {
  return isText(frame) ? /"type":"([a-z_]+)"/.exec(frame.payload.toString())?.[1] : undefined;
}

/** The same frame with another payload, or another mask. */
export function changed(frame: Frame, payload: Buffer, mask = frame.mask): Frame {
  const raw = encodeFrame((frame.first & 0x0f) as Opcode, payload, mask);
  return { first: raw[0] as number, mask, payload, raw };
}

/** The same with every `from` replaced. */
export function replaced(frame: Frame, from: string, to: string): Frame {
  return changed(frame, Buffer.from(frame.payload.toString('latin1').replaceAll(from, to), 'latin1'));
}

/** A close frame with another code. */
export function recoded(frame: Frame, from: number, to: number): Frame {
  if (!isClose(frame) || frame.payload.length < 2 || frame.payload.readUInt16BE(0) !== from) return frame;
  const payload = Buffer.from(frame.payload);
  payload.writeUInt16BE(to, 0);
  return changed(frame, payload);
}
