import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, it } from 'vitest';
import { type Member, Members } from '../src/index.ts';

interface Named extends Member {
  name: string;
}
const named = (name: string): Named => ({ name });
const namesOf = (members: Members<Named>): string[] => [...members].map(({ name }) => name).sort();

describe('members', () => {
  it('are in it once, until they are deleted', () => {
    const members = new Members<Named>();
    const [a, b, c] = ['a', 'b', 'c'].map(named) as [Named, Named, Named];
    for (const member of [a, b, c, a]) members.add(member);
    expect(members.size).toBe(3);
    expect(members.delete(a)).toBe(true);
    expect(members.delete(a)).toBe(false);
    expect(namesOf(members)).toEqual(['b', 'c']);
    members.add(a);
    expect(members.delete(c)).toBe(true);
    expect(namesOf(members)).toEqual(['a', 'b']);
    for (const member of [a, b]) members.delete(member);
    expect(members.size).toBe(0);
    expect(namesOf(members)).toEqual([]);
  });

  it('may delete each other while they are met', () => {
    for (const first of ['itself', 'all others', 'all']) {
      const members = new Members<Named>();
      for (const name of ['a', 'b', 'c', 'd']) members.add(named(name));
      const met: string[] = [];
      for (const member of members) {
        met.push(member.name);
        for (const other of [...members])
          if (first === 'all' || (first === 'itself') === (other === member)) members.delete(other);
      }
      expect(new Set(met).size).toBe(first === 'itself' ? 4 : 1);
      expect(members.size).toBe(first === 'all others' ? 1 : 0);
    }
  });

  it('who are gone do not grow old: nothing of them outlives the collection of young objects', () => {
    v8.setFlagsFromString('--expose-gc');
    const collect = vm.runInNewContext('gc') as (kind?: object) => void;
    const oldBytes = (): number =>
      v8.getHeapSpaceStatistics().find((space) => space.space_name === 'old_space')?.space_used_size ?? Number.NaN;
    const members = new Members<Member & { bytes: number[] }>();
    const young = () => ({ place: undefined, bytes: Array.from({ length: 1_000 }, (_, index) => index + 0.5) });
    const present = Array.from({ length: 32 }, young);
    for (const one of present) members.add(one);
    collect();
    collect(); // whoever is in it now is old
    const before = oldBytes();
    for (let count = 0; count < 4_000; count += 1) {
      const place = count % present.length;
      members.delete(present[place] as (typeof present)[number]);
      const next = young();
      present[place] = next;
      members.add(next);
      if (count % 200 === 199) collect({ type: 'minor' });
    }
    // In a Set it is all 32 MB of them; here what was present when it was collected, twice.
    expect(oldBytes() - before).toBeLessThan(12e6);
  });
});
