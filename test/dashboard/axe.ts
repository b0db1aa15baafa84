import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { Page } from 'playwright-core';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

interface Violation {
  id: string;
  impact: string;
  nodes: { html: string; failureSummary: string }[];
}

/** What axe finds serious or critical in the page as it stands. */
export async function barriers(on: Page): Promise<string[]> {
  if (!(await on.evaluate('"axe" in globalThis'))) {
    await on.evaluate(readFileSync(AXE, 'utf8')); // by the debugger: the page's own policy would refuse a script element
  }
  const { violations } = (await on.evaluate('axe.run()')) as { violations: Violation[] };
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes[0]?.html.slice(0, 300)} ${nodes[0]?.failureSummary}`);
}
