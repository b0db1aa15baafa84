import { describe, expect, it } from 'vitest';
import { createHostLabel } from '../src/hosts.ts';
import { fitPage } from '../src/page.ts';

const item = (name: string, bytes: number) => ({ name, text: 'x'.repeat(bytes) });
const nameOf = ({ name }: { name: string }) => name;

describe('a page', () => {
  it('ends before the reply is too large, and the next one goes on there', () => {
    const items = [item('a', 300_000), item('b', 300_000), item('c', 300_000)];
    expect(fitPage(items, null, nameOf)).toEqual({ items: items.slice(0, 2), cursor: 'b' });
    expect(fitPage(items.slice(0, 2), null, nameOf)).toEqual({ items: items.slice(0, 2), cursor: null });
  });

  it('has one item at least, however large', () => {
    const items = [item('a', 2_000_000), item('b', 1)];
    expect(fitPage(items, null, nameOf)).toEqual({ items: items.slice(0, 1), cursor: 'a' });
  });
});

describe('a host label', () => {
  it('is a DNS label that does not repeat', () => {
    const labels = Array.from({ length: 2_000 }, createHostLabel);
    expect(new Set(labels).size).toBe(labels.length);
    for (const label of labels) expect(label).toMatch(/^[a-z]{3,9}-[a-z]{3,9}-[a-z2-7]{6}$/);
  });
});
