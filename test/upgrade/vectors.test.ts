import { isDeepStrictEqual } from 'node:util';
import { describe, expect, it } from 'vitest';
import { vectors } from '../../libs/wire/scripts/vectors.ts';
import { hasPrevious, previousFile, previousFiles } from './previous.ts';

/** What the former vectors say and the present ones do not, by where it stands. */
function lost(former: unknown, present: unknown, at: string): string[] {
  if (Array.isArray(former)) {
    const among = Array.isArray(present) ? present : [];
    return former.flatMap((one: unknown) =>
      among.some((other) => isDeepStrictEqual(other, one)) ? [] : [`${at}: ${JSON.stringify(one)}`],
    );
  }
  if (typeof former !== 'object' || former === null)
    return isDeepStrictEqual(former, present) ? [] : [`${at}: ${JSON.stringify(former)}`];
  return Object.entries(former).flatMap(([key, value]) =>
    lost(value, (present as Record<string, unknown> | undefined)?.[key], `${at}/${key}`),
  );
}

describe.skipIf(!hasPrevious())('the golden vectors of the previous version', () => {
  const present = JSON.parse(JSON.stringify(vectors())) as Record<string, unknown>;
  for (const file of hasPrevious() ? previousFiles('docs/vectors') : []) {
    it(`of ${file} hold for this implementation, every one`, () => {
      const former = JSON.parse(previousFile(`docs/vectors/${file}`)) as unknown;
      expect(lost(former, present[file.replace('.json', '')], file)).toEqual([]);
    });
  }

  it('are missed when they change', () => {
    expect(lost({ cases: [{ name: 'a', value: 1 }], most: 2 }, { cases: [{ name: 'a', value: 2 }], most: 3 }, 'x')).toEqual([
      'x/cases: {"name":"a","value":1}',
      'x/most: 2',
    ]);
  });
});
