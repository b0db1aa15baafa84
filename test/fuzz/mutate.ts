import fc from 'fast-check';
import type { FuzzTarget } from './target.ts';

/** One change of an input. Positions are shares of its length, so that they fit whatever came before. */
type Change =
  | { kind: 'insert'; at: number; bytes: Uint8Array }
  | { kind: 'replace'; at: number; bytes: Uint8Array }
  | { kind: 'word'; at: number; word: number }
  | { kind: 'cut'; at: number; length: number }
  | { kind: 'repeat'; at: number; length: number }
  | { kind: 'flip'; at: number; bit: number };

const share = fc.double({ min: 0, max: 1, noNaN: true });
const INTERESTING = [0, 1, 0x0a, 0x0d, 0x20, 0x25, 0x2f, 0x3a, 0x7f, 0x80, 0xff];
const byte = fc.oneof(fc.constantFrom(...INTERESTING), fc.integer({ min: 0, max: 255 }));
const bytes = fc.array(byte, { minLength: 1, maxLength: 8 }).map((list) => Uint8Array.from(list));
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constantFrom('insert' as const, 'replace' as const), at: share, bytes }),
  fc.record({ kind: fc.constant('word' as const), at: share, word: fc.nat(1_000) }),
  fc.record({ kind: fc.constant('cut' as const), at: share, length: fc.integer({ min: 1, max: 64 }) }),
  fc.record({ kind: fc.constant('repeat' as const), at: share, length: fc.integer({ min: 1, max: 300 }) }),
  fc.record({ kind: fc.constant('flip' as const), at: share, bit: fc.nat(7) }),
);
export const changes = fc.array(change, { minLength: 1, maxLength: 6 });

/** Longer inputs teach nothing that shorter ones do not: what is too large is refused at a few KiB. */
const LONGEST = 16 * 1024;

export function apply(input: Buffer, list: readonly Change[], words: readonly string[]): Buffer {
  let made = input;
  for (const one of list) {
    const at = Math.floor(one.at * made.length);
    const [head, tail] = [made.subarray(0, at), made.subarray(at)];
    if (one.kind === 'insert') made = Buffer.concat([head, one.bytes, tail]);
    else if (one.kind === 'replace') made = Buffer.concat([head, one.bytes, tail.subarray(one.bytes.length)]);
    else if (one.kind === 'word') made = Buffer.concat([head, Buffer.from(words[one.word % words.length] ?? '', 'latin1'), tail]);
    else if (one.kind === 'cut') made = Buffer.concat([head, tail.subarray(one.length)]);
    else if (one.kind === 'repeat') made = Buffer.concat([head, tail.subarray(0, one.length), tail]);
    else if (tail.length > 0) {
      made = Buffer.from(made);
      made[at] = (tail[0] as number) ^ (1 << one.bit);
    }
  }
  return made.subarray(0, LONGEST);
}

/** Inputs of a target: its seeds changed, and now and then bytes without any sense. */
export function inputsOf({ seeds, words }: FuzzTarget): fc.Arbitrary<Buffer> {
  const changed = fc.tuple(fc.constantFrom(...seeds), changes).map(([seed, list]) => apply(seed, list, words));
  const any = fc.uint8Array({ maxLength: 200 }).map((array) => Buffer.from(array));
  return fc.oneof({ weight: 9, arbitrary: changed }, { weight: 1, arbitrary: any });
}
