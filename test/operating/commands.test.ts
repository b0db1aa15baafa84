import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { runCli } from '../harness/agent.ts';

const ROOT = join(import.meta.dirname, '../..');
const pages = ['README.md', 'agent/native/README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter(
  (path) => path.endsWith('.md'),
);
const textOf = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

/** Lines of code blocks, and code within the text. */
function codeOf(page: string): string[] {
  const text = textOf(page);
  const fenced = [...text.matchAll(/```(?:sh)?\n([\s\S]*?)```/g)].flatMap(([, lines]) => (lines ?? '').split('\n'));
  const indented = text.split('\n').filter((line) => line.startsWith('    '));
  const inline = [...text.replace(/```[\s\S]*?```/g, '').matchAll(/`([^`\n]+)`/g)].map(([, code]) => code ?? '');
  return [...fenced, ...indented, ...inline].map((line) => line.trim());
}

it('names scripts of npm that exist', () => {
  const { scripts } = JSON.parse(textOf('package.json')) as { scripts: Record<string, string> };
  const named = pages.flatMap((page) =>
    codeOf(page).flatMap((line) => {
      const [, name] = /^npm (?:run (?:--silent )?)?([a-z][a-z:-]*)/.exec(line) ?? [];
      return name === undefined || line.includes(' -w ') ? [] : [{ page, name }]; // those of a workspace are its own
    }),
  );
  expect(named.length).toBeGreaterThan(8);
  expect(named.filter(({ name }) => scripts[name] === undefined)).toEqual([]);
});

it('names files that exist', () => {
  const links = pages.flatMap((page) =>
    [...textOf(page).matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, to]) => join(page, '..', to ?? '')),
  );
  expect(links.length).toBeGreaterThan(20);
  const missing = links.filter((path) => !existsSync(join(ROOT, path)));
  expect(missing).toEqual([]);
});

it('names commands and options that culvert has', async () => {
  // The words before the first that is an argument, with the options behind them.
  const used = new Map<string, Set<string>>();
  for (const line of pages.flatMap(codeOf)) {
    for (const [, rest = ''] of line.matchAll(/(?:^|npx |['|&;(] ?)culvert ((?:[a-z][a-z-]*)(?: [^|'&#]*)?)/g)) {
      const words = rest.split(/\s+/);
      const end = words.findIndex((word) => !/^[a-z][a-z-]+$/.test(word));
      const path = words
        .slice(0, end === -1 ? words.length : end)
        .slice(0, 2)
        .join(' ');
      const options = words.filter((word) => /^--[a-z-]+/.test(word)).map((word) => word.replace(/[=.,;:)].*$/, ''));
      used.set(path, new Set([...(used.get(path) ?? []), ...options]));
    }
  }
  expect(used.size).toBeGreaterThan(10);
  const wrong: string[] = [];
  const rest = used.entries();
  const lane = async (): Promise<void> => {
    for (const [path, options] of rest) {
      const { stdout } = await runCli([...path.split(' '), '--help']);
      const [, known = ''] = /^Usage: culvert((?: [a-z][a-z-]*)*)/.exec(stdout) ?? [];
      // `device list` is a command of two words; of `share till` the second is a name already.
      if (known === '' || !` ${path}`.startsWith(known)) wrong.push(`culvert ${path}: there is no such command`);
      for (const option of options) {
        if (!stdout.includes(option) && !['--json', '--state-dir', '--server', '--token-file'].includes(option))
          wrong.push(`culvert ${path} has no ${option}`);
      }
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  expect(wrong).toEqual([]);
}, 600_000);
