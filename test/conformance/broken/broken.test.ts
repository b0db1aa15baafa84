import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ITEMS } from '../device/items/index.ts';
import { grade, type Item, type Result } from '../device/suite.ts';
import { setDeadline } from '../device/wait.ts';
import { BREAKAGES } from './breakages.ts';

/** Items that say soon whether an agent works at all. */
const BASIC = ['ping', 'half-close-visitor', 'warm-recycled', 'inline-serves'];
/** Such a machine is so busy that nothing can be said of the agent. */
const NEVER_STARTED = 'not: a handshake of a control connection';
const AT_ONCE = 7;
const AGAIN_AT_ONCE = 3;

const command = (what: string): string[] => [process.execPath, fileURLToPath(new URL('agent.ts', import.meta.url)), what];
const named = (names: readonly string[]): Item[] => ITEMS.filter(({ name }) => names.includes(name));

/** Runs them a few at a time; the longest first. */
async function each<T>(all: readonly T[], run: (one: T) => Promise<void>, atOnce = AT_ONCE): Promise<void> {
  const queue = [...all];
  const lane = async (): Promise<void> => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) await run(one);
  };
  await Promise.all(Array.from({ length: atOnce }, lane));
}

describe('agents with one thing wrong', () => {
  it('exist for every item of the conformance suite', () => {
    expect(Object.keys(BREAKAGES).sort()).toEqual(ITEMS.map(({ name }) => name).sort());
  });

  it('fail that item, for that reason', async () => {
    const wrong = new Map<Item, string>();
    const tried = async (item: Item): Promise<void> => {
      const [result] = (await grade(command(item.name), [item], new Set())) as [Result];
      const says = BREAKAGES[item.name]?.says ?? '';
      const failed = result.grade === 'fail' && (result.why.includes(says) || result.why.includes(NEVER_STARTED));
      if (failed) wrong.delete(item);
      else wrong.set(item, `${item.name}: ${result.grade} ${result.why}`);
    };
    const order = [...ITEMS].sort((a, b) => Number(b.waits ?? false) - Number(a.waits ?? false));
    setDeadline(8_000);
    await each(order, tried);
    // On a machine that is short of breath an agent may seem to have what it lacks, or not have started: once more, fewer at once.
    await each([...wrong.keys()], tried, AGAIN_AT_ONCE);
    expect([...wrong.values()]).toEqual([]);
  }, 400_000);

  it('pass the other items', async () => {
    setDeadline(45_000);
    const wrong: string[] = [];
    const run = async (what: string, items: Item[]): Promise<void> => {
      for (const { item, grade: mark, why } of await grade(command(what), items, new Set())) {
        if (mark !== 'pass') wrong.push(`without ${what}, ${item.name}: ${why}`);
      }
    };
    if (process.env.CULVERT_TEST_LONG === '1') {
      for (const { name } of ITEMS)
        await run(
          name,
          ITEMS.filter((item) => item.name !== name),
        );
    } else {
      await run('nothing', named(BASIC));
      await each(['masks', 'heartbeat-lost', 'slow-target', 'jitter'], (what) =>
        run(what, named(['ping', 'half-close-visitor'])),
      );
    }
    expect(wrong).toEqual([]);
  }, 3_600_000);
});
