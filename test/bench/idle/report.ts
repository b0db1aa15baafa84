import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { machine } from '../report.ts';

/** What so many devices that do nothing cost, over so many processes of ws-ingress. */
export interface IdleRow {
  devices: number;
  ingresses: number;
  setUpPerSecond: number;
  kibPerDevice: number;
  heapKibPerDevice: number;
  /** How late the event loop of ws-ingress was at most, and before there was any device. */
  latestMs: number;
  p99Ms: number;
  alonePeakMs: number;
  cpuPercent: number;
  kibPerPort: number;
  lost: number;
  at: string;
}

const HEAD = [
  '| devices | ws-ingress processes | set up, a second | KiB a device, RSS | of it heap | event loop late: most, ms | p99, ms | the same without devices: most, ms | CPU of ws-ingress | tcp-listener: KiB a port | lost |',
  `|${' ---: |'.repeat(11)}`,
];

const line = (row: IdleRow): string =>
  `| ${row.devices.toLocaleString('en')} | ${row.ingresses} | ${row.setUpPerSecond.toFixed(0)} | ${row.kibPerDevice.toFixed(1)}` +
  ` | ${row.heapKibPerDevice.toFixed(1)} | ${row.latestMs.toFixed(0)} | ${row.p99Ms.toFixed(1)} | ${row.alonePeakMs.toFixed(0)}` +
  ` | ${row.cpuPercent.toFixed(1)} % | ${row.kibPerPort.toFixed(1)} | ${row.lost} |`;

export const table = (rows: readonly IdleRow[]): string => [...HEAD, ...rows.map(line)].join('\n');

/** Smaller runs try the benchmark itself: what a process costs by itself hides what a device does. */
const LEAST_DEVICES = 1_000;

/** Adds the rows to those of earlier runs in bench/idle.json, in place of the same numbers, and writes all into the docs. */
export async function save(rows: readonly IdleRow[], root: URL): Promise<void> {
  const kept = rows.filter(({ devices }) => devices >= LEAST_DEVICES);
  if (kept.length === 0) return;
  const file = new URL('bench/idle.json', root);
  const before = await readFile(file, 'utf8').then(
    (text) => JSON.parse(text) as IdleRow[],
    () => [],
  );
  const same = (one: IdleRow, other: IdleRow): boolean => one.devices === other.devices && one.ingresses === other.ingresses;
  const all = [...before.filter((old) => !kept.some((row) => same(row, old))), ...kept];
  all.sort((a, b) => a.ingresses - b.ingresses || a.devices - b.devices);
  await mkdir(new URL('bench/', root), { recursive: true });
  await writeFile(file, `${JSON.stringify(all, null, 1)}\n`);
  const page = new URL('docs/PERFORMANCE.md', root);
  const text = `${table(all)}\n\n${all.at(-1)?.at.slice(0, 10)}, ${machine()}.`;
  const between = /(<!-- idle devices -->\n)[\s\S]*?(<!-- end of idle devices -->)/;
  await writeFile(
    page,
    (await readFile(page, 'utf8')).replace(between, (_, start: string, end: string) => `${start}${text}\n${end}`),
  );
}
