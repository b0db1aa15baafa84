import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { type LoadRun, markdown, type Second, show } from './summary.ts';

const WIDTH = 680;
const HEIGHT = 180;
const LEFT = 56;
const COLOURS = ['#3b7dd8', '#e08a1e', '#2f9e57', '#b5478f', '#c0392b', '#7f6cd6', '#5b6770', '#17a2a2', '#8d6e2f'];

export const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

interface Line {
  name: string;
  values: (number | null)[];
}

/** One plot over the seconds of the run, its phases behind it. */
function plot(run: LoadRun, title: string, lines: readonly Line[]): string {
  const end = Math.max(1, run.seconds.at(-1)?.at ?? 1);
  const most = Math.max(1e-9, ...lines.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const x = (at: number): string => (LEFT + (at / end) * (WIDTH - LEFT - 8)).toFixed(1);
  const y = (value: number): string => (HEIGHT - 20 - (value / most) * (HEIGHT - 40)).toFixed(1);
  const bands = run.phases
    .map(({ name, from, to }, at) => {
      const width = (Number(x(to)) - Number(x(from))).toFixed(1);
      const band = `<rect class="band${at % 2}" x="${x(from)}" y="12" width="${width}" height="${HEIGHT - 32}"/>`;
      return `${band}<text class="phase" x="${Number(x(from)) + 3}" y="${HEIGHT - 6}">${name}</text>`;
    })
    .join('');
  const paths = lines
    .map(({ values }, at) => {
      let pen = 'M';
      const steps = values.map((value, second) => {
        if (value === null) {
          pen = 'M';
          return '';
        }
        const step = `${pen}${x(run.seconds[second]?.at ?? 0)} ${y(value)}`;
        pen = 'L';
        return step;
      });
      return `<path d="${steps.join('')}" stroke="${COLOURS[at % COLOURS.length]}"/>`;
    })
    .join('');
  const key = lines
    .map(({ name }, at) => `<span style="color:${COLOURS[at % COLOURS.length]}">&#9632;</span> ${escapeHtml(name)}`)
    .join(' &nbsp; ');
  return `<figure><figcaption>${escapeHtml(title)}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">${bands}
<line x1="${LEFT}" y1="${y(0)}" x2="${WIDTH - 8}" y2="${y(0)}"/><text x="${LEFT - 6}" y="${Number(y(most)) + 4}" text-anchor="end">${show(most)}</text>
<text x="${LEFT - 6}" y="${Number(y(0)) + 4}" text-anchor="end">0</text>${paths}</svg><p>${key}</p></figure>`;
}

/** Markdown's tables and paragraphs, no more of it. */
function rendered(text: string): string {
  const cells = (line: string): string[] =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => escapeHtml(cell.trim()));
  return text
    .split('\n\n')
    .map((block) => {
      if (!block.startsWith('|')) return `<p>${escapeHtml(block)}</p>`;
      const [head = '', , ...rows] = block.split('\n');
      const row = (line: string, tag: string): string =>
        `<tr>${cells(line)
          .map((cell) => `<${tag}>${cell}</${tag}>`)
          .join('')}</tr>`;
      return `<div class="wide"><table>${row(head, 'th')}${rows.map((line) => row(line, 'td')).join('')}</table></div>`;
    })
    .join('\n');
}

/** A page that stands alone: no script, no request. */
export function html(run: LoadRun): string {
  const names = Object.keys(run.seconds.at(-1)?.processes ?? {});
  const of = (name: string, pick: (second: Second) => number | null): Line => ({ name, values: run.seconds.map(pick) });
  const plots = [
    plot(run, 'Devices ready', [of('devices', ({ ready }) => ready)]),
    plot(
      run,
      'CPU, % of a core',
      names.map((name) => of(name, ({ processes }) => processes[name]?.cpuPercent ?? null)),
    ),
    plot(
      run,
      'Memory, MiB',
      names.map((name) => of(name, ({ processes }) => processes[name]?.rssMib ?? null)),
    ),
    plot(
      run,
      'Open files of the process with the most',
      names.map((name) => of(name, ({ processes }) => processes[name]?.files ?? null)),
    ),
    plot(run, 'Redis, a second', [of('commands', ({ redis }) => redis.commands), of('scripts', ({ redis }) => redis.scripts)]),
    plot(run, 'NATS, messages a second', [
      of('commands and replies', ({ nats }) => nats.commands),
      of('events', ({ nats }) => nats.events),
      of('streams', ({ nats }) => nats.streams),
    ]),
    plot(run, 'Slowest event of each second, ms', [of('from the store to an integrator', ({ eventLagMs }) => eventLagMs)]),
    plot(run, 'Visitors, a second', [of('served', ({ served }) => served), of('failed', ({ failed }) => failed)]),
    plot(run, 'Visitors, ms', [
      of('http p50', ({ httpP50Ms }) => httpP50Ms),
      of('http p99', ({ httpP99Ms }) => httpP99Ms),
      of('tcp p50', ({ tcpP50Ms }) => tcpP50Ms),
      of('tcp p99', ({ tcpP99Ms }) => tcpP99Ms),
    ]),
  ];
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Culvert under load</title>
<style>:root{color-scheme:light dark}body{font:16px/1.4 system-ui;max-width:76rem;margin:2rem auto;padding:0 1rem}main{display:grid;grid-template-columns:repeat(auto-fit,minmax(30rem,1fr));gap:1.5rem}
figure{margin:0}figure p{font-size:12px;margin:0}svg text{font-size:11px;fill:currentColor}svg path{fill:none;stroke-width:1.5}svg line{stroke:currentColor;opacity:.4}.band0{fill:#8881}.band1{fill:#8883}.phase{opacity:.7}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:14px}td,th{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #8885}td:first-child,th:first-child{text-align:left}</style>
<h1>Culvert under load: ${run.options.devices.toLocaleString('en')} devices</h1>
<main>${plots.join('\n')}</main>${rendered(markdown(run))}</html>`;
}

const PAGE = new URL('../../docs/CAPACITY.md', import.meta.url);

/** Writes load.json and load.html into the folder; where they are. With `intoDocs` also into docs/CAPACITY.md. */
export async function save(run: LoadRun, dir: URL, intoDocs: boolean): Promise<string> {
  await mkdir(dir, { recursive: true });
  const page = new URL('load.html', dir);
  await writeFile(new URL('load.json', dir), `${JSON.stringify(run, null, 1)}\n`);
  await writeFile(page, html(run));
  if (intoDocs) await putInto(PAGE, 'load', markdown(run));
  return `${fileURLToPath(page)} and load.json beside it`;
}

/** Replaces what stands between the marks of that name. */
export async function putInto(file: URL, name: string, text: string): Promise<void> {
  const page = await readFile(file, 'utf8');
  const between = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(<!-- end of ${name} -->)`);
  if (!between.test(page)) throw new Error(`${fileURLToPath(file)} has no marks of ${name}`);
  await writeFile(
    file,
    page.replace(between, (_, start: string, end: string) => `${start}${text}\n${end}`),
  );
}
