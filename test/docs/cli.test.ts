import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { cliPage, leaves } from './cli.ts';

const PAGE = new URL('../../docs/CLI.md', import.meta.url);
/** What prints a script for a shell. */
const NO_JSON = ['completion'];

it('describes every command as the program does (CULVERT_WRITE_DOCS=1 writes the page anew)', () => {
  if (process.env.CULVERT_WRITE_DOCS === '1') writeFileSync(PAGE, cliPage());
  expect(readFileSync(PAGE, 'utf8')).toBe(cliPage());
});

it('has JSON and exit codes for every command', () => {
  const page = cliPage();
  for (const command of leaves()) {
    const section = page
      .split('\n## ')
      .find((text) => text.split('\n')[0]?.endsWith(` ${command.name()}`) && text.includes('Exit codes'));
    expect([command.name(), section === undefined ? 'no exit codes' : 'told']).toEqual([command.name(), 'told']);
    if (!NO_JSON.includes(command.name()))
      expect([command.name(), ...command.options.map(({ long }) => long)]).toContain('--json');
  }
});
