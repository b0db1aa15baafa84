/**
 * `npm run bench:dashboard [-- DEVICES] [--save]`: how quick the dashboard is with 10,000 devices that are connected, in headless
 * Chromium, while 50 visitors a second come. `--save` writes the figures into docs/DASHBOARD.md.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import { percentile } from '../bench/figures.ts';
import { enterNamespace } from '../bench/namespace.ts';
import { machine } from '../bench/report.ts';
import { registerDevices } from '../harness/registration.ts';
import { putInto } from '../load/report.ts';
import { ingressPorts } from '../load/run.ts';
import type { CrowdProgress, ToCrowd, ToVisitors } from '../load/words.ts';
import { measureFleetPage, type PageFigures } from './quickness.ts';
import { logIn, startScene } from './scene.ts';

const { positionals, values } = parseArgs({ allowPositionals: true, options: { save: { type: 'boolean', default: false } } });
const devices = Number(positionals[0] ?? 10_000);
const EACH = 5_000;
const READY_MS = 900_000;
const VISITORS_PER_SECOND = 50;
const ROUNDS = 5;
const PAGE = new URL('../../docs/DASHBOARD.md', import.meta.url);

enterNamespace();
const scene = await startScene({
  env: { CULVERT_LOG_LEVEL: 'warn', CULVERT_REPLICAS: `ws-ingress=${Math.ceil(devices / EACH)}`, CULVERT_GRACE: '1h' },
  tcpPorts: devices + 200,
});
const children: ChildProcess[] = [];
try {
  const { stack } = scene;
  const names = Array.from({ length: devices }, (_, at) => `device-${String(at).padStart(5, '0')}`);
  const tokens = await registerDevices(stack.info, names);
  const control = await ingressPorts(stack);
  const edge = Number(new URL(stack.info.edge).port);
  const visitors = fork(new URL('../load/visitors.ts', import.meta.url), { execArgv: [] });
  children.push(visitors);
  const crowds = new Map<ChildProcess, number>();
  for (let first = 0; first < devices; first += EACH) {
    const child = fork(new URL('../load/crowd.ts', import.meta.url), { execArgv: ['--max-semi-space-size=2'] });
    children.push(child);
    crowds.set(child, 0);
    child.on('message', ({ ready, places }: CrowdProgress) => {
      crowds.set(child, ready);
      if (places.length > 0 && visitors.connected) visitors.send({ kind: 'places', places } satisfies ToVisitors);
    });
    const some = names.slice(first, first + EACH).map((name, at) => {
      return { name, token: tokens[first + at] ?? '', ports: at % 2 === 0 ? ('80' as const) : ('tcp:9' as const) };
    });
    child.send({ kind: 'crowd', first, devices: some, control, edge, width: 64 } satisfies ToCrowd);
  }
  const ready = (): number => [...crowds.values()].reduce((sum, one) => sum + one, 0);
  const until = performance.now() + READY_MS;
  while (ready() < devices) {
    if (performance.now() > until) throw new Error(`${ready()} of ${devices} devices are connected after ${READY_MS / 1000} s`);
    await new Promise((wake) => setTimeout(wake, 250));
  }
  console.log(`${devices} devices are connected`);
  visitors.send({ kind: 'visitors', edge } satisfies ToVisitors);
  visitors.send({ kind: 'rate', perSecond: VISITORS_PER_SECOND } satisfies ToVisitors);

  const rounds: PageFigures[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await scene.page();
    await logIn(page, stack);
    rounds.push(await measureFleetPage(page, stack.info.admin, names));
    await page.context().close();
  }
  const text = table(rounds);
  console.log(text);
  for (const fault of scene.faults) console.log(fault);
  if (values.save) await putInto(PAGE, 'quick', text);
} finally {
  for (const child of children) child.kill(); // they hold nothing that would have to be put away
  await scene.stop();
}

function table(rounds: PageFigures[]): string {
  const median = (of: (one: PageFigures) => number): string => Math.round(percentile(rounds.map(of), 0.5)).toLocaleString('en');
  const searches = rounds.flatMap(({ searchMs }) => searchMs);
  const rows: [string, string][] = [
    ['first paint', `${median(({ firstPaintMs }) => firstPaintMs)} ms`],
    ['every device listed and counted', `${median(({ listedMs }) => listedMs)} ms`],
    ['a key in the search, to the painted result, p50', `${Math.round(percentile(searches, 0.5))} ms`],
    ['the same, p95', `${Math.round(percentile(searches, 0.95))} ms`],
    ['another order, painted', `${median(({ orderMs }) => orderMs)} ms`],
    ['to the end of the list, painted', `${median(({ endMs }) => endMs)} ms`],
    ['a device, from the click to its endpoints', `${median(({ deviceMs }) => deviceMs)} ms`],
    ['rows in the page', median(({ rows: count }) => count)],
    ['the list over the wire (gzip)', `${median(({ listKiB }) => listKiB)} KiB`],
    ['memory of scripts', `${median(({ heapMiB }) => heapMiB)} MiB`],
  ];
  const where = `${new Date().toISOString().slice(0, 10)}, ${machine()}, Chromium ${scene.browser.version()}`;
  return [
    `| ${devices.toLocaleString('en')} devices connected, ${VISITORS_PER_SECOND} visitors a second | median of ${ROUNDS} |`,
    '| --- | ---: |',
    ...rows.map(([what, value]) => `| ${what} | ${value} |`),
    '',
    `${where}; servers, devices and browser on that one machine.`,
  ].join('\n');
}
