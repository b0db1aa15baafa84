import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { C99, CORE, compile, coreSources, runBeside, STRICT } from './build.ts';
import { replays } from './replay.ts';

/** The readers of `core/test/fuzz.c` that an input of a vector is of use to. */
const READERS: Record<string, readonly number[]> = { frames: [0, 1, 2], response: [3, 5], message: [4] };

/** Builds the fuzzer, and a corpus out of the golden vectors. */
export function buildFuzzer(dir: string): { program: string; corpus: string } {
  const program = join(dir, 'fuzz');
  const corpus = join(dir, 'corpus');
  compile(
    'clang',
    ['-g', '-O1', ...C99, ...STRICT, '-fsanitize=fuzzer,address,undefined'],
    [...coreSources(), join(CORE, 'test/fuzz.c')],
    program,
  );
  mkdirSync(corpus, { recursive: true });
  let count = 0;
  for (const { line } of replays()) {
    const words = line.split(' ');
    const bytes = words[words[0] === 'message' ? 1 : words[0] === 'frames' ? 3 : 2] ?? '-';
    if (words[0] === 'frames' && words[1] !== 'client') continue;
    if (bytes === '-' || bytes.length > 8_000) continue;
    for (const reader of READERS[words[0] ?? ''] ?? []) {
      writeFileSync(join(corpus, `vector-${count++}`), Buffer.concat([Buffer.of(reader, count % 5), Buffer.from(bytes, 'hex')]));
    }
  }
  return { program, corpus };
}

/** Runs it; throws with what it found. The corpus grows. */
export async function fuzz(built: { program: string; corpus: string }, runs: number, maxSeconds: number): Promise<void> {
  const options = [
    `-runs=${runs}`,
    `-max_total_time=${maxSeconds}`,
    '-max_len=4096',
    '-timeout=20',
    '-verbosity=0',
    '-print_final_stats=0',
  ];
  await runBeside(built.program, [...options, `-artifact_prefix=${built.corpus}-`, built.corpus], {
    timeoutMs: (maxSeconds + 60) * 1000,
  });
}
