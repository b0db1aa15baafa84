/**
 * `npm run native:targets [-- --all] [NAME...]`: builds the C agent for every target, prints how large it is, replays the golden
 * vectors on it and runs the conformance suite: natively, under qemu-user, under Wine. Of the targets one of each kind gets the whole
 * suite, the others its short part; `--all`, or a name, gives the whole to each. The last line is `N passed, N failed`.
 */

import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { ITEMS } from '../../../test/conformance/device/items/index.ts';
import { grade, type Item, type Result } from '../../../test/conformance/device/suite.ts';
import { fetchDebianSource } from '../test/debian-source.ts';
import { buildFuzzer, fuzz } from '../test/fuzz.ts';
import { buildCortexM3, buildSanitized, buildTarget, floatsOf } from './build.ts';
import { idleMemory, replay, speaksTls, startOf } from './check.ts';
import { TARGETS, type Target } from './targets.ts';

/** Goals: bytes, and KiB. */
const CORE_TEXT_MAX = 16 * 1024;
const MIPSEL_MAX = 100 * 1024;
const IDLE_MAX = 1024;
const FUZZ_SECONDS = 60;
/** Items that show what another processor or system could change: bytes, orders, sockets. The rest is paces and rules. */
const SHORT = new Set([
  ...[
    'handshake',
    'masks',
    'joined',
    'leaves',
    'fragmented-handshake',
    'fragmented-control',
    'fragmented-transfer',
    'ping-in-data',
  ],
  ...[
    'target-first',
    'early-bytes',
    'half-close-visitor',
    'half-close-target',
    'target-resets',
    'visitor-resets',
    'transfers-64',
  ],
  ...['max-frame', 'local-refused', 'busy', 'path', 'hostile-transfer', 'hostile-control', 'close-answered', 'warm-recycled'],
  ...['inline-serves', 'inline-credit', 'inline-endings', 'proxy'],
]);

const { values, positionals: only } = parseArgs({ options: { all: { type: 'boolean' } }, allowPositionals: true });
/** Builds are kept from one run to the next of the same checkout; CMake refuses those of another. */
const checkout = createHash('sha256')
  .update(import.meta.dirname)
  .digest('hex')
  .slice(0, 12);
const dir = join(tmpdir(), `culvert-native-targets-${checkout}`);
const startedAt = performance.now();
/** Items that failed beside everything else. */
const missed: { name: string; command: readonly string[]; item: Item; why: string }[] = [];
let passed = 0;
let failed = 0;

function judge(good: boolean, what: string): void {
  if (good) passed += 1;
  else failed += 1;
  if (!good) console.log(`FAILED ${what}`);
}

/** Runs the program of a target; gives what is to be said of it. */
async function check(target: Target, built: Awaited<ReturnType<typeof buildTarget>>): Promise<string> {
  if (target.by === undefined) return target.why ?? 'not run';
  const start = startOf(target, join(dir, 'wine'));
  const { vectors, machines } = await replay(target, built.dir, start);
  judge(vectors, `${target.name}: the golden vectors`);
  judge(machines, `${target.name}: the machines`);
  const command = [...start, built.program];
  judge(await speaksTls(command), `${target.name}: TLS`);
  const whole = values.all === true || only.length > 0 || target.representative === true;
  const results = await conforms(target.name, command, whole, new Set(target.without));
  const count = (wanted: string): number => results.filter(({ grade: mark }) => mark === wanted).length;
  const notes = [`${count('pass')} passed, ${count('fail')} failed of the ${whole ? 'whole' : 'short'} conformance suite`];
  if (target.why !== undefined) notes.push(target.why);
  if (target.system === 'Linux' && target.by.length === 0) {
    const idle = await idleMemory(built.plain);
    judge(idle <= IDLE_MAX, `${target.name}: ${idle} KiB resident when idle; expected at most ${IDLE_MAX}`);
    notes.push(`${idle} KiB resident when idle`);
  }
  if (target.name === 'mips') notes.push(`${floatsOf(target.compiler, dir)} float, as its compiler can`);
  return notes.join('; ');
}

/** Runs the conformance suite, or its short part, and counts what passes; the rest is kept for `tryAgain`. */
async function conforms(
  name: string,
  command: readonly string[],
  whole: boolean,
  without = new Set<string>(),
): Promise<Result[]> {
  const words = ['--server', '{server}', '--name', '{name}', '--token-file', '{token_file}', '--warm', '{warm}'];
  const more = ['--inline', '{inline}', '--max-transfers', '{transfers}', '--json', '{mappings}'];
  const items = ITEMS.filter((item) => whole || SHORT.has(item.name));
  const call = [...command, ...words, ...more];
  const results = await grade(call, items, without);
  for (const { item, grade: mark, why } of results) {
    if (mark === 'fail') missed.push({ name, command: call, item, why });
    else if (mark === 'pass') judge(true, `${name}: ${item.name}`);
  }
  return results;
}

/** Emulators on a busy machine are slow enough to miss what an item waits for: when all is done, each such item runs once more, alone. */
async function tryAgain(): Promise<void> {
  for (const { name, command, item, why } of missed) {
    const [again] = await grade(command, [item], new Set());
    judge(again?.grade === 'pass', `${name}: ${item.name}: ${why}; then ${again?.why}`);
    if (again?.grade === 'pass') console.log(`FLAKY ${name}: ${item.name}: ${why}`);
  }
}

/** The whole suite on the agent with sanitizers. */
async function sanitized(): Promise<void> {
  const results = await conforms('sanitized', [await buildSanitized(dir)], true);
  const good = results.filter(({ grade: mark }) => mark === 'pass').length;
  console.log(`with address and undefined behaviour sanitizers: ${good} of ${results.length} of the whole conformance suite`);
}

/** One target after the other is built; while the next is, those that are built run. */
async function all(targets: readonly Target[], mbedtls: string): Promise<void> {
  const running: Promise<void>[] = [];
  for (const target of targets) {
    try {
      const built = await buildTarget(target, dir, mbedtls);
      judge(true, `${target.name}: it builds without a warning`);
      const { core, tls, plain, dynamic } = built.sizes;
      if (target.name === 'mipsel') judge(dynamic <= MIPSEL_MAX, `mipsel: ${dynamic} bytes; expected at most ${MIPSEL_MAX}`);
      const columns = [core.text, tls, plain, dynamic].map((size) => String(size).padStart(9)).join(' ');
      const told = check(target, built).then((verdict) => console.log(`${target.name.padEnd(12)} ${columns}  ${verdict}`));
      running.push(told.catch((error: Error) => judge(false, `${target.name}: ${error.message}`)));
    } catch (error) {
      judge(false, `${target.name}: ${(error as Error).message}`);
    }
  }
  await Promise.all(running);
}

await installSystemPackages(['native', 'cross']);
mkdirSync(join(dir, 'mbedtls'), { recursive: true });
const mbedtls = fetchDebianSource('mbedtls', join(dir, 'mbedtls'));
const m3 = buildCortexM3(dir);
console.log(`Cortex-M3, -Os: the library has ${m3.core.text} text, ${m3.core.data} data, ${m3.core.bss} bss;`);
console.log(`a control connection takes ${m3.control} bytes, a transfer ${m3.transfer}, beside buffers`);
judge(m3.core.text <= CORE_TEXT_MAX && m3.core.data + m3.core.bss === 0, 'the library is larger than it may be');

const targets = TARGETS.filter(({ name }) => only.length === 0 || only.includes(name));
const kinds = targets.filter(({ representative }) => representative).map(({ name }) => name);
if (values.all !== true && only.length === 0)
  console.log(`the whole conformance suite runs on ${kinds.join(', ')}; on all with --all`);
console.log(`${'target'.padEnd(12)} core text  static+TLS  static  dynamic  bytes, stripped`);
const fuzzing = fuzz(buildFuzzer(dir), 1_000_000_000, FUZZ_SECONDS).then(
  () => judge(true, 'fuzzing'),
  (error: Error) => judge(false, `fuzzing: ${error.message}`),
);
const checked =
  only.length > 0 ? Promise.resolve() : sanitized().catch((error: Error) => judge(false, `sanitized: ${error.message}`));
await Promise.all([all(targets, mbedtls), checked, fuzzing]);
await tryAgain();
const minutes = ((performance.now() - startedAt) / 60_000).toFixed(1);
console.log(`fuzzed for ${FUZZ_SECONDS} s; all of it took ${minutes} min on ${availableParallelism()} processors`);
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
