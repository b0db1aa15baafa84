/**
 * `npm run fuzz [TARGET...]`: coverage-guided, CULVERT_FUZZ_SECONDS (default 30) for each target. An input that reaches new
 * code is kept in test/fuzz/corpus and changed further; one that breaks a promise is kept there as well, printed, and fails
 * the run. `npm test` runs the whole corpus again.
 */
import fc from 'fast-check';
import { corpusOf, keep } from './corpus.ts';
import { Coverage } from './coverage.ts';
import { apply, changes } from './mutate.ts';
import type { FuzzTarget } from './target.ts';

const BATCH = 100;
const coverage = new Coverage(/\/(?:libs|agent)\/[^?]*\/src\//);
// Only what is loaded from here on is counted block by block.
const { TARGETS } = await import('./targets.ts');
const seconds = Number(process.env.CULVERT_FUZZ_SECONDS ?? 30);
const names = process.argv.slice(2);
const unknown = names.filter((name) => !TARGETS.some((target) => target.name === name));
if (unknown.length > 0 || !(seconds > 0)) {
  console.error(
    `unknown: ${unknown.join(', ') || `CULVERT_FUZZ_SECONDS=${seconds}`}; expected some of ${TARGETS.map(({ name }) => name).join(', ')}`,
  );
  process.exit(2);
}

let faults = 0;
for (const target of TARGETS) if (names.length === 0 || names.includes(target.name)) faults += fuzz(target) ? 0 : 1;
console.log(`${faults} targets with faults`);
process.exit(faults === 0 ? 0 : 1);

/** False when an input broke it: the first one ends the run of this target. */
function fuzz(target: FuzzTarget): boolean {
  const { name, seeds, words } = target;
  coverage.forget();
  const known = [...seeds, ...corpusOf(name)];
  let runs = 0;
  let kept = 0;
  let failed: unknown;
  const attempt = (input: Buffer): boolean => {
    runs += 1;
    try {
      target.run(input);
    } catch (error) {
      failed = error;
      console.log(`FAIL ${name}: ${keep(name, input)}\n${error instanceof Error ? error.stack : error}`);
    }
    return coverage.grew();
  };
  for (const input of known) attempt(input);
  const until = Date.now() + seconds * 1_000;
  while (Date.now() < until && failed === undefined) {
    for (const list of fc.sample(changes, BATCH)) {
      const from = known[Math.floor(Math.random() * known.length)] as Buffer;
      const input = apply(from, list, words);
      if (!attempt(input) || failed !== undefined) continue;
      known.push(input);
      keep(name, input);
      kept += 1;
    }
  }
  console.log(
    `${failed === undefined ? 'ok  ' : 'FAIL'} ${name}: ${runs} inputs, ${coverage.blocks} blocks, ${kept} kept of ${known.length}`,
  );
  return failed === undefined;
}
