import { CulvertError } from '@culvert/contracts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseFrames } from '../scripts/vectors.ts';
import {
  applyMask,
  encodeClose,
  encodeEnd,
  encodeFrame,
  FrameParser,
  HEADROOM,
  maskWords,
  OPCODE,
  putHeader,
  readBinaryHeader,
  ZERO_MASK,
} from '../src/index.ts';

const NOTHING = { onData() {}, onEnd() {}, onText() {}, onPing() {}, onPong() {}, onClose() {} };
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array));
const mask = fc.oneof(fc.constant(ZERO_MASK), fc.uint8Array({ minLength: 4, maxLength: 4 }));

/** Cuts at the given places, in any order, modulo the length. */
function cut(stream: Buffer, places: number[]): Buffer[] {
  const at = [...new Set(places.map((place) => place % (stream.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => stream.subarray(from, at[i] ?? stream.length));
}

describe('frames', () => {
  it('parse equal however the stream is split', () => {
    const frame = fc.oneof(
      fc.tuple(fc.constant(OPCODE.binary), bytes(70_000)),
      fc.tuple(fc.constant(OPCODE.binary), bytes(300)),
      fc.tuple(fc.constantFrom(OPCODE.ping, OPCODE.pong), bytes(125)),
      fc.tuple(
        fc.constant(OPCODE.text),
        fc.string({ unit: 'binary', maxLength: 200 }).map((text) => Buffer.from(text)),
      ),
    );
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        mask,
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.boolean(),
        (frames, key, places, server) => {
          const stream = Buffer.concat(frames.map(([opcode, payload]) => encodeFrame(opcode, payload, server ? key : undefined)));
          const role = server ? 'server' : 'client';
          const whole = parseFrames(role, undefined, [stream]);
          expect(whole).not.toHaveProperty('error');
          expect(parseFrames(role, undefined, cut(stream, places))).toEqual(whole);
        },
      ),
      { numRuns: 200 },
    );
  });

  it('parse equal where others read payload on in place of the parser', () => {
    const frame = fc.tuple(fc.constantFrom(OPCODE.binary, OPCODE.ping), bytes(125), mask);
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1 }),
        (frames, steps) => {
          const stream = Buffer.concat(frames.map(([opcode, payload, key]) => encodeFrame(opcode, payload, key)));
          const data: Buffer[] = [];
          const heard: string[] = [];
          const parser = new FrameParser(
            { role: 'server' },
            {
              ...NOTHING,
              onData: (chunk, from, to) => data.push(Buffer.from(chunk.subarray(from, to))),
              onEnd: () => heard.push('end'),
              onPing: (payload) => heard.push(payload.toString('hex')),
            },
          );
          let [at, step] = [0, 0];
          while (at < stream.length) {
            const to = Math.min(stream.length, at + (steps[step++ % steps.length] as number));
            parser.push(Buffer.from(stream.subarray(at, to)));
            at = to;
            const { place } = parser;
            if (place === undefined) continue;
            const count = Math.min(place.left, steps[step++ % steps.length] as number);
            const read = Buffer.from(stream.subarray(at, at + count));
            applyMask(read, 0, count, place.mask);
            data.push(read);
            parser.resume({ left: place.left - count, mask: place.mask.map((_, i) => place.mask[(i + count) & 3] as number) });
            at += count;
          }
          const binary = frames.filter(([opcode]) => opcode === OPCODE.binary).map(([, payload]) => payload);
          expect(Buffer.concat(data)).toEqual(Buffer.concat(binary));
          const said = frames.map(([opcode, payload]) =>
            opcode === OPCODE.ping ? payload.toString('hex') : payload.length === 0 ? 'end' : undefined,
          );
          expect(heard).toEqual(said.filter((text) => text !== undefined));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('have headers that are read without a parser where they are whole, and only of binary messages', () => {
    fc.assert(
      fc.property(fc.constantFrom(1, 125, 126, 65_535, 65_536, 70_000), fc.option(mask, { nil: undefined }), (length, given) => {
        const key = given && Uint8Array.from(given);
        const frame = encodeFrame(OPCODE.binary, Buffer.alloc(length), key);
        const size = frame.length - length;
        const header = { size, length, mask: key ?? new Uint8Array(4) };
        expect(readBinaryHeader(frame, key !== undefined)).toEqual(header);
        expect(readBinaryHeader(frame.subarray(0, size), key !== undefined)).toEqual(header);
        expect(readBinaryHeader(frame.subarray(0, size - 1), key !== undefined)).toBeUndefined();
        expect(readBinaryHeader(frame, key === undefined)).toBeUndefined();
        for (const first of [0x02, 0x80, 0x81, 0x88, 0x89, 0xc2]) {
          const other = Buffer.from(frame);
          other[0] = first;
          expect(readBinaryHeader(other, key !== undefined)).toBeUndefined();
        }
      }),
    );
    expect(readBinaryHeader(encodeEnd(), false)).toBeUndefined();
    expect(readBinaryHeader(Buffer.from('827e0001', 'hex'), false)).toBeUndefined(); // not the shortest form
    expect(readBinaryHeader(Buffer.from('827fffffffffffffffff', 'hex'), false)).toBeUndefined();
  });

  it('of any bytes whatever throw nothing but a CulvertError, and parse equal however they are split', () => {
    const start = fc.constantFrom('81', '82', '02', '00', '80', '88', '89', '8a', 'c1', '');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(start, bytes(40)), { maxLength: 6 }),
        fc.array(fc.nat(), { maxLength: 8 }),
        (parts, places) => {
          const stream = Buffer.concat(parts.flatMap(([hex, tail]) => [Buffer.from(hex, 'hex'), tail]));
          for (const role of ['client', 'server'] as const) {
            expect(parseFrames(role, 100, cut(stream, places))).toEqual(parseFrames(role, 100, [stream]));
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('stop in front of data while the reader has no place for it, and lose nothing', () => {
    const stream = Buffer.concat([
      encodeFrame(OPCODE.ping, Buffer.from('p')),
      encodeFrame(OPCODE.binary, Buffer.from('abc')),
      encodeEnd(),
      encodeFrame(OPCODE.text, Buffer.from('t')),
    ]);
    for (let split = 0; split <= stream.length; split++) {
      const told: string[] = [];
      const parser = new FrameParser(
        { role: 'client' },
        {
          ...NOTHING,
          onPing: () => told.push('ping'),
          onData: (chunk, from, to) => told.push(...chunk.toString('latin1', from, to)),
          onEnd: () => {
            told.push('end');
            parser.hold = true;
          },
          onText: () => told.push('text'),
        },
      );
      parser.hold = true;
      let rest = Buffer.from(stream.subarray(0, split));
      rest = rest.subarray(parser.push(rest));
      expect(told.filter((event) => event !== 'ping')).toEqual([]);
      rest = Buffer.concat([rest, stream.subarray(split)]);
      rest = rest.subarray(parser.push(rest));
      expect(told).toEqual(['ping']);
      parser.hold = false;
      rest = rest.subarray(parser.push(rest));
      expect(told).toEqual(['ping', 'a', 'b', 'c', 'end', 'text']);
      expect(rest).toHaveLength(0);
    }
  });

  it('say how far they end, once one has come, as long as the next is as large', () => {
    const frame = encodeFrame(OPCODE.binary, Buffer.alloc(300)); // a header of 4 bytes
    const parser = new FrameParser({ role: 'client' }, NOTHING);
    expect(parser.ahead).toBe(0);
    parser.push(frame.subarray(0, 100));
    expect(parser.ahead).toBe(204);
    parser.push(frame.subarray(100));
    expect(parser.ahead).toBe(304);
    parser.push(frame.subarray(0, 3));
    expect(parser.ahead).toBe(301);
    parser.push(frame.subarray(3));
    parser.push(encodeFrame(OPCODE.ping, Buffer.alloc(9))); // only data counts
    expect(parser.ahead).toBe(304);
  });

  it('hold END back too, when its header is complete but nothing follows', () => {
    const told: string[] = [];
    const parser = new FrameParser({ role: 'client' }, { ...NOTHING, onEnd: () => told.push('end') });
    parser.hold = true;
    expect(parser.push(encodeEnd())).toBe(2);
    expect(told).toEqual([]);
    parser.hold = false;
    expect(parser.push(Buffer.alloc(0))).toBe(0);
    expect(told).toEqual(['end']);
  });

  it('after a violation throw the same error for ever', () => {
    const parser = new FrameParser({ role: 'client' }, NOTHING);
    expect(() => parser.push(Buffer.from('c100', 'hex'))).toThrow(/reserved bits/);
    expect(() => parser.push(encodeEnd())).toThrow(CulvertError);
  });

  it('are written into the room in front of a payload, without moving it', () => {
    fc.assert(
      fc.property(fc.constantFrom(0, 1, 125, 126, 65_535, 65_536, 70_000), fc.option(mask, { nil: undefined }), (length, key) => {
        const room = Buffer.alloc(HEADROOM + length, 0x61);
        if (key !== undefined) applyMask(room, HEADROOM, room.length, key);
        const start = putHeader(room, HEADROOM, length, OPCODE.binary, key);
        expect(room.subarray(start).equals(encodeFrame(OPCODE.binary, Buffer.alloc(length, 0x61), key))).toBe(true);
      }),
    );
  });

  it('of close keep their reason within 125 bytes and whole characters', () => {
    const frame = encodeClose(4400, 'ä'.repeat(100));
    expect(frame.length).toBe(2 + 2 + 122);
    expect(parseFrames('client', undefined, [frame]).events).toEqual([{ close: 4400, reason: 'ä'.repeat(61) }]);
  });
});

describe('masks', () => {
  it('give the same by words, natively and byte by byte, at every alignment and phase', () => {
    fc.assert(
      fc.property(
        bytes(300),
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.nat(7),
        fc.nat(3),
        (payload, key, offset, phase) => {
          const make = (): Buffer => Buffer.concat([Buffer.alloc(offset), payload]);
          const slow = make();
          for (let i = offset; i < slow.length; i++) slow[i] = (slow[i] as number) ^ (key[(phase + i - offset) & 3] as number);
          const fast = make();
          applyMask(fast, offset, fast.length, key, phase);
          const words = make();
          maskWords(
            words,
            offset,
            words.length,
            Uint8Array.from(key, (_, i) => key[(phase + i) & 3] as number),
          );
          expect(fast.equals(slow)).toBe(true);
          expect(words.equals(slow)).toBe(true);
        },
      ),
    );
  });
});
