import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { cpus, release } from 'node:os';
import { median } from './figures.ts';
import type { Figures } from './measures.ts';
import { congestionControl } from './namespace.ts';

export interface Result {
  name: string;
  version: string;
  /** Why it did not run; then there are no rounds. */
  unavailable?: string;
  /** Why it was left out of later rounds. */
  failed?: string;
  rounds: Figures[];
}

export interface Run {
  at: string;
  machine: string;
  rounds: number;
  /** Of each alternative; each has figures of its own in `Result.rounds`, those of one round next to each other. */
  stacks: number;
  bytes: number;
  results: Result[];
}

export const machine = (): string =>
  `${cpus().length} x ${cpus()[0]?.model ?? 'CPU'}, Linux ${release()}, Node ${process.version}, TCP ${congestionControl()}`;

/** Rows of memory are the most of all rounds: what a process has taken once it uses again. */
const MEMORY = ': MiB more';

export function medians(result: Result): Figures {
  const keys = new Set(result.rounds.flatMap((round) => Object.keys(round)));
  return Object.fromEntries(
    [...keys].map((key) => {
      const values = result.rounds.flatMap((round) => (key in round ? [round[key] as number] : []));
      return [key, key.includes(MEMORY) ? Math.max(...values) : median(values)];
    }),
  );
}

const show = (value: number | undefined): string => {
  if (value === undefined || Number.isNaN(value)) return '–';
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
};

function rowsOf(run: Run): { key: string; cells: (number | undefined)[] }[] {
  const all = run.results.map(medians);
  const keys = [...new Set(all.flatMap((figures) => Object.keys(figures)))];
  return keys.map((key) => ({ key, cells: all.map((figures) => figures[key]) }));
}

/** Columns of the short table: a heading, and the figures it shows, with a slash between. */
const SHORT: readonly [string, ...string[]][] = [
  ['1 transfer, MB/s, D / U', '1 D: MB/s', '1 U: MB/s'],
  ['64 transfers', '64 D: MB/s', '64 U: MB/s'],
  ['CPU-s/GB, 1 transfer', '1 D: CPU-s/GB', '1 U: CPU-s/GB'],
  ['64 transfers', '64 D: CPU-s/GB', '64 U: CPU-s/GB'],
  ['200 B round trip, p50 / p99 us', '200 B round trip, alone: p50 us', '200 B round trip, alone: p99 us'],
  ['beside bulk', '200 B round trip, beside bulk: p50 us', '200 B round trip, beside bulk: p99 us'],
  ['new visitors/s', 'new visitors a second, 32 at a time'],
  ['first byte, p50 us', 'new visitor to answer: p50 us'],
  ['HTTP requests/s', 'HTTP requests a second, 32 kept connections'],
];

const method = ({ rounds, stacks }: Run): string =>
  `medians of ${rounds} interleaved rounds${stacks === 1 ? '' : ` of ${stacks} stacks each`}`;

const versions = (run: Run): string =>
  run.results
    .map(
      ({ name, version, unavailable, failed }) =>
        `${name}: ${unavailable ?? version}${failed === undefined ? '' : ` (failed in ${failed})`}`,
    )
    .join('; ');

/** The table of the docs: a row for each alternative. */
export function short(run: Run): string {
  const rows = run.results
    .filter(({ rounds }) => rounds.length > 0)
    .map((result) => {
      const figures = medians(result);
      const cells = SHORT.map(([, ...keys]) =>
        keys.some((key) => key in figures) ? keys.map((key) => show(figures[key])).join(' / ') : '–',
      );
      return `| ${result.name} | ${cells.join(' | ')} |`;
    });
  const head = `| | ${SHORT.map(([name]) => name).join(' | ')} |\n| --- |${' ---: |'.repeat(SHORT.length)}`;
  return `${head}\n${rows.join('\n')}\n\n${run.at.slice(0, 10)}, ${run.machine}; ${method(run)}. ${versions(run)}.`;
}

/** All figures, a row for each. */
export function markdown(run: Run): string {
  const head = `| | ${run.results.map(({ name }) => name).join(' | ')} |\n| --- |${' ---: |'.repeat(run.results.length)}`;
  const rows = rowsOf(run).map(({ key, cells }) => `| ${key} | ${cells.map(show).join(' | ')} |`);
  return `${head}\n${rows.join('\n')}\n\n${versions(run)}.\n${run.machine}; ${method(run)}, ${run.bytes / 1e6} MB.\n`;
}

/**
 * All figures as ratios to those of `yardstick`: the median of the rounds' ratios, with the least and the most of them. What is
 * measured within a minute is compared, since a machine changes more from round to round than two alternatives differ.
 */
export function ratios(run: Run, yardstick: string): string {
  const of = run.results.find(({ name }) => name === yardstick)?.rounds ?? [];
  const keys = [...new Set(of.flatMap((figures) => Object.keys(figures)))];
  const cell = (result: Result, key: string): string => {
    const values = result.rounds.map((figures, index) => (figures[key] ?? Number.NaN) / (of[index]?.[key] ?? Number.NaN));
    const known = values.filter(Number.isFinite);
    if (known.length === 0) return '–';
    return `${median(known).toFixed(2)} (${Math.min(...known).toFixed(2)} to ${Math.max(...known).toFixed(2)})`;
  };
  const head = `| of ${yardstick} | ${run.results.map(({ name }) => name).join(' | ')} |\n| --- |${' ---: |'.repeat(run.results.length)}`;
  return `${head}\n${keys.map((key) => `| ${key} | ${run.results.map((result) => cell(result, key)).join(' | ')} |`).join('\n')}`;
}

const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function bars(run: Run, key: string, cells: readonly (number | undefined)[]): string {
  const most = Math.max(...cells.map((value) => value ?? 0));
  const bar = (value: number | undefined, at: number): string =>
    `<g transform="translate(0 ${at * 22})"><text x="190" y="14" text-anchor="end">${escapeHtml(run.results[at]?.name ?? '')}</text>
<rect x="200" width="${(((value ?? 0) / most) * 380).toFixed(1)}" height="16" rx="2"/><text x="590" y="14">${show(value)}</text></g>`;
  return `<figure><figcaption>${escapeHtml(key)}</figcaption><svg viewBox="0 0 680 ${cells.length * 22}" role="img">${cells.map(bar).join('')}</svg></figure>`;
}

function html(run: Run): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Culvert benchmark</title>
<style>:root{color-scheme:light dark}body{font:16px/1.4 system-ui;max-width:72rem;margin:2rem auto;padding:0 1rem}main{display:grid;grid-template-columns:repeat(auto-fit,minmax(30rem,1fr));gap:1.5rem}
figure{margin:0}svg text{font-size:12px;fill:currentColor}rect{fill:#3b7dd8}g:first-child rect{fill:#e08a1e}</style>
<h1>Culvert benchmark</h1><p>${escapeHtml(run.at)}. ${escapeHtml(run.machine)}; ${method(run)}.</p>
<main>${rowsOf(run)
    .map(({ key, cells }) => bars(run, key, cells))
    .join('\n')}</main></html>`;
}

const PAGES = ['docs/PERFORMANCE.md', 'README.md'].map((page) => new URL(`../../${page}`, import.meta.url));

/** Writes bench/results.json and bench/report.html; the table of a run of everything also goes into the docs. */
export async function save(run: Run, dir: URL, everything: boolean): Promise<void> {
  await mkdir(dir, { recursive: true });
  await writeFile(new URL('results.json', dir), `${JSON.stringify(run, null, 1)}\n`);
  await writeFile(new URL('report.html', dir), html(run));
  if (!everything) return;
  const between = /(<!-- last run -->\n)[\s\S]*?(<!-- end of last run -->)/;
  for (const url of PAGES) {
    const page = await readFile(url, 'utf8');
    await writeFile(
      url,
      page.replace(between, (_, start: string, end: string) => `${start}${short(run)}\n${end}`),
    );
  }
}
