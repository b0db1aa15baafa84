import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { corpusOf } from './corpus.ts';
import { inputsOf } from './mutate.ts';
import { TARGETS } from './targets.ts';

describe.each(TARGETS.map((target) => [target.name, target] as const))('%s', (name, target) => {
  it('stands its seeds and every input that was kept', () => {
    const kept = corpusOf(name);
    expect(kept.length).toBeGreaterThan(0);
    for (const input of [...target.seeds, ...kept]) target.run(input);
  });
  it('stands inputs that nobody has seen', () => {
    fc.assert(
      fc.property(inputsOf(target), (input) => target.run(input)),
      { numRuns: 500 },
    );
  });
});
