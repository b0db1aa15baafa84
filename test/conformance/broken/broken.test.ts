import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ITEMS } from '../device/items/index.ts';
import { grade, type Item, type Result } from '../device/suite.ts';
import { setDeadline } from '../device/wait.ts';
import { BREAKAGES } from './breakages.ts';

/** Items that say soon whether an agent works at all. */
const BASIC = ['ping', 'half-close-visitor', 'warm-recycled', 'inline-serves'];
const AT_ONCE = 6;

const command = (what: string): string[] => [process.execPath, fileURLToPath(new URL('agent.ts', import.meta.url)), what];
const named = (names: readonly string[]): Item[] => ITEMS.filter(({ name }) => names.includes(name));

/** Runs them a few at a time; the longest first. */
async function each<T>(all: readonly T[], run: (one: T) => Promise<void>): Promise<void> {
  const queue = [...all];
  const lane = async (): Promise<void> => {
    for (let one = queue.shift(); one !== undefined; one = queue.shift()) await run(one);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
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
      if (result.grade === 'fail' && result.why.includes(says)) wrong.delete(item);
      else wrong.set(item, `${item.name}: ${result.grade} ${result.why}`);
    };
    const order = [...ITEMS].sort((a, b) => Number(b.waits ?? false) - Number(a.waits ?? false));
    setDeadline(12_000);
    await each(order, tried);
    // On a machine that is short of breath an agent may not even have started by then: alone, and with more time.
    setDeadline(45_000);
    for (const item of [...wrong.keys()]) await tried(item);
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
