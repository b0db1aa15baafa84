import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { limitsPage } from './limits.ts';

const PAGE = new URL('../../docs/LIMITS.md', import.meta.url);

it('lists every limit with its default as the code has it (CULVERT_WRITE_DOCS=1 writes the page anew)', () => {
  if (process.env.CULVERT_WRITE_DOCS === '1') writeFileSync(PAGE, limitsPage());
  expect(readFileSync(PAGE, 'utf8')).toBe(limitsPage());
});
