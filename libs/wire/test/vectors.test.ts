import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { FRAME_CASES } from '../scripts/vector-inputs.ts';
import { bytesOf, parseFrames, render, vectors } from '../scripts/vectors.ts';
import { acceptKey, encodeEnd, encodeFrame, encodeText, OPCODE } from '../src/index.ts';

const MASK = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

describe('the golden vectors', () => {
  for (const [name, value] of Object.entries(vectors())) {
    it(`of ${name} are what this implementation does (else run libs/wire/scripts/vectors.ts and read the diff)`, () => {
      const file = readFileSync(new URL(`../../../docs/vectors/${name}.json`, import.meta.url), 'utf8');
      expect(file).toBe(render(value));
    });
  }

  it('of frames give the same when every byte comes alone', () => {
    for (const { name, receiver, max_frame, bytes } of FRAME_CASES) {
      const whole = bytesOf(bytes);
      const single = Array.from(whole, (byte) => Buffer.of(byte));
      expect(parseFrames(receiver, max_frame, single), name).toEqual(parseFrames(receiver, max_frame, [whole]));
    }
  });

  it('agree with the examples of RFC 6455', () => {
    expect(acceptKey('dGhlIHNhbXBsZSBub25jZQ==')).toBe('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
    expect(encodeText('Hello').toString('hex')).toBe('810548656c6c6f');
    expect(encodeText('Hello', MASK).toString('hex')).toBe('818537fa213d7f9f4d5158');
    expect(encodeFrame(OPCODE.ping, Buffer.from('Hello')).toString('hex')).toBe('890548656c6c6f');
    expect(encodeFrame(OPCODE.binary, Buffer.alloc(256)).subarray(0, 4).toString('hex')).toBe('827e0100');
    expect(encodeFrame(OPCODE.binary, Buffer.alloc(65_536)).subarray(0, 10).toString('hex')).toBe('827f0000000000010000');
    expect(encodeEnd().toString('hex')).toBe('8200');
  });
});
