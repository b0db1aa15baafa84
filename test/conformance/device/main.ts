/**
 * `npm run conformance -- [--only a,b] [--without a,b] [--json] [--] <command of the agent>`: grades an agent against
 * docs/PROTOCOL.md, item by item. docs/CONFORMANCE.md says how a command is written. Exit codes: 0 all that is claimed passes,
 * 1 something fails, 2 usage.
 */
import { parseArgs } from 'node:util';
import { ITEMS } from './items/index.ts';
import { CLAIMS, grade, type Result } from './suite.ts';

const USAGE = `usage: npm run conformance -- [--only ITEM,...] [--without CLAIM|ITEM,...] [--json] -- COMMAND [WORD...]
claims: ${CLAIMS.join(', ')}
items:  ${ITEMS.map(({ name }) => name).join(', ')}`;

function listOf(text: string | undefined, known: ReadonlySet<string>, option: string): string[] {
  const names = (text ?? '').split(',').filter((name) => name !== '');
  const unknown = names.filter((name) => !known.has(name));
  if (unknown.length > 0) throw new Error(`${option} names ${unknown.join(', ')}, which is no item`);
  return names;
}

/** One line of the table. */
function lineOf({ item, grade: mark, why, ms }: Result): string {
  const seconds = mark === 'not claimed' ? '' : `${(ms / 1000).toFixed(1)} s`.padStart(7);
  return `${item.name.padEnd(22)} ${mark.padEnd(11)} ${seconds.padEnd(8)}${mark === 'fail' ? why : item.what}`;
}

async function main(): Promise<number> {
  let options: { only?: string; without?: string; json?: boolean };
  let command: string[];
  let only: string[];
  let without: string[];
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { only: { type: 'string' }, without: { type: 'string' }, json: { type: 'boolean' } },
    });
    [options, command] = [values, positionals];
    const names = new Set(ITEMS.map(({ name }) => name));
    only = listOf(options.only, names, '--only');
    without = listOf(options.without, new Set([...names, ...CLAIMS]), '--without');
    if (command.length === 0) throw new Error('no command; expected how the agent is started');
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    return 2;
  }
  const items = only.length === 0 ? ITEMS : ITEMS.filter(({ name }) => only.includes(name));
  const started = performance.now();
  const results = await grade(command, items, new Set(without));
  const count = (mark: Result['grade']): number => results.filter((result) => result.grade === mark).length;
  if (options.json === true) {
    for (const { item, grade: mark, why, ms } of results) console.log(JSON.stringify({ item: item.name, grade: mark, why, ms }));
  } else {
    for (const result of results) console.log(lineOf(result));
    const seconds = Math.round((performance.now() - started) / 1000);
    console.log(`${count('pass')} passed, ${count('fail')} failed, ${count('not claimed')} not claimed, in ${seconds} s`);
  }
  return count('fail') === 0 ? 0 : 1;
}

process.exitCode = await main();
