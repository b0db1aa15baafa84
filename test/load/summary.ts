import { percentile } from '../bench/figures.ts';
import type { LoadOptions } from './options.ts';
import { type Sample, SUBJECT_KINDS } from './sampler.ts';

export type PhaseName = 'empty' | 'connect' | 'idle' | 'visitors' | 'storm' | 'after';

/** What happened from one mark to the next; `from` and `to` in seconds of the run. */
export interface Phase {
  name: PhaseName;
  from: number;
  to: number;
  /** At its end. */
  ready: number;
  /** Of devices that became ready in it, from their first attempt; null without any. */
  readyP50Ms: number | null;
  readyP99Ms: number | null;
  refusals: Record<string, number>;
  lost: number;
  dials: number;
  served: number;
  failures: Record<string, number>;
  /** Visitors that were due and not let in, because 2,000 were open. */
  skipped: number;
  httpMs: number[];
  tcpMs: number[];
}

export interface Second extends Sample {
  ready: number;
  served: number;
  failed: number;
  httpP50Ms: number | null;
  httpP99Ms: number | null;
  tcpP50Ms: number | null;
  tcpP99Ms: number | null;
}

export interface LoadRun {
  at: string;
  machine: string;
  options: LoadOptions;
  phases: Phase[];
  seconds: Second[];
}

export const secondsOf = ({ seconds }: LoadRun, { from, to }: Phase): Second[] =>
  seconds.filter(({ at }) => at > from && at <= to + 0.1);
const mean = (values: readonly number[]): number =>
  values.length === 0 ? Number.NaN : values.reduce((sum, value) => sum + value, 0) / values.length;
const phaseOf = (run: LoadRun, name: PhaseName): Phase | undefined => run.phases.find((phase) => phase.name === name);

export const show = (value: number | null | undefined): string => {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  return value >= 100 ? Math.round(value).toLocaleString('en') : String(Number(value.toPrecision(3)));
};
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [`| ${head.join(' | ')} |`, `| --- |${' ---: |'.repeat(head.length - 1)}`, ...rows.map((row) => `| ${row.join(' | ')} |`)].join(
    '\n',
  );
const counts = (of: Record<string, number>): string =>
  Object.entries(of)
    .map(([why, count]) => `${count} × ${why}`)
    .join(', ') || 'none';

/** CPU that a service used in a phase, in core-seconds. */
function cpuOf(run: LoadRun, phase: Phase, name: string): number {
  const part = secondsOf(run, phase);
  return (mean(part.map(({ processes }) => processes[name]?.cpuPercent ?? 0)) / 100) * (phase.to - phase.from);
}

/** What one device, one connect and one visitor cost, by service: the differences between phases. */
export function costs(
  run: LoadRun,
): { name: string; kibADevice: number; idlePercent: number; connectMs: number; visitMs: number }[] {
  const [empty, connect, idle, visitors] = (['empty', 'connect', 'idle', 'visitors'] as const).map((name) => phaseOf(run, name));
  if (empty === undefined || connect === undefined || idle === undefined || visitors === undefined) return [];
  const { devices } = run.options;
  const names = Object.keys(run.seconds.at(-1)?.processes ?? {}).filter((name) => name !== 'the load itself');
  const rss = (phase: Phase, name: string): number => secondsOf(run, phase).at(-1)?.processes[name]?.rssMib ?? Number.NaN;
  const rate = (phase: Phase, name: string): number => cpuOf(run, phase, name) / (phase.to - phase.from);
  return names.map((name) => ({
    name,
    kibADevice: ((rss(idle, name) - rss(empty, name)) * 1024) / devices,
    idlePercent: rate(idle, name) * 100,
    connectMs: ((cpuOf(run, connect, name) - rate(empty, name) * (connect.to - connect.from)) * 1000) / devices,
    visitMs: ((rate(visitors, name) - rate(idle, name)) * (visitors.to - visitors.from) * 1000) / Math.max(1, visitors.served),
  }));
}

/** How often Redis and NATS are asked, by what causes it. */
function rates(run: LoadRun): string[][] {
  const of = (phase: Phase | undefined, pick: (second: Second) => number): number =>
    phase === undefined ? Number.NaN : mean(secondsOf(run, phase).map(pick));
  const [empty, connect, idle, visitors] = (['empty', 'connect', 'idle', 'visitors'] as const).map((name) => phaseOf(run, name));
  const { devices } = run.options;
  const perConnect = (pick: (second: Second) => number): number =>
    connect === undefined ? Number.NaN : ((of(connect, pick) - of(empty, pick)) * (connect.to - connect.from)) / devices;
  const perVisit = (pick: (second: Second) => number): number =>
    visitors === undefined
      ? Number.NaN
      : ((of(visitors, pick) - of(idle, pick)) * (visitors.to - visitors.from)) / Math.max(1, visitors.served);
  const row = (name: string, pick: (second: Second) => number): string[] => [
    name,
    ...[of(empty, pick), perConnect(pick), of(idle, pick), perVisit(pick)].map((value) => show(Math.max(0, value))),
  ];
  return [
    row('Redis: commands', ({ redis }) => redis.commands),
    row('of them scripts', ({ redis }) => redis.scripts),
    ...SUBJECT_KINDS.map((kind) => row(`NATS: ${kind === 'commands' ? 'commands and replies' : kind}`, ({ nats }) => nats[kind])),
  ];
}

/** The figures as the page and the docs show them. */
export function markdown(run: LoadRun): string {
  const phases = table(
    [
      'phase',
      'seconds',
      'devices ready',
      'a second',
      'ready after, p50 / p99 ms',
      'lost',
      'visitors served',
      'failed',
      'http, p50 / p99 ms',
      'tcp, p50 / p99 ms',
      'slowest event, ms',
    ],
    run.phases.map((phase, at) => {
      const seconds = phase.to - phase.from;
      const came = phase.ready + phase.lost - (run.phases[at - 1]?.ready ?? 0);
      const pair = (list: readonly number[]): string =>
        list.length === 0 ? '–' : `${show(percentile(list, 0.5))} / ${show(percentile(list, 0.99))}`;
      const lags = secondsOf(run, phase).flatMap(({ eventLagMs }) => eventLagMs ?? []);
      return [
        phase.name,
        show(seconds),
        show(phase.ready),
        came > 0 ? show(came / seconds) : '–',
        phase.readyP50Ms === null ? '–' : `${show(phase.readyP50Ms)} / ${show(phase.readyP99Ms)}`,
        show(phase.lost),
        show(phase.served),
        phase.served === 0 ? '–' : counts(phase.failures),
        pair(phase.httpMs),
        pair(phase.tcpMs),
        lags.length === 0 ? '–' : show(Math.max(...lags)),
      ];
    }),
  );
  const last = run.seconds.at(-1);
  const most = (name: string, pick: (usage: { cpuPercent: number; rssMib: number; files: number }) => number): number =>
    Math.max(...run.seconds.map(({ processes }) => pick(processes[name] ?? { cpuPercent: 0, rssMib: 0, files: 0 })));
  const cost = table(
    [
      '',
      'KiB a device',
      'CPU with all idle, % of a core',
      'CPU a connect, ms',
      'CPU a visitor, ms',
      'most CPU, %',
      'most memory, MiB',
      'most files of one process',
    ],
    costs(run).map(({ name, kibADevice, idlePercent, connectMs, visitMs }) => [
      name,
      ...[kibADevice, idlePercent, connectMs, visitMs].map((value) => show(Math.max(0, value))),
      ...[most(name, (usage) => usage.cpuPercent), most(name, (usage) => usage.rssMib), most(name, (usage) => usage.files)].map(
        show,
      ),
    ]),
  );
  const bus = table(['', 'empty, a second', 'a connect', 'all idle, a second', 'a visitor'], rates(run));
  const before = secondsOf(run, run.phases[0] as Phase).at(-1)?.redis.usedMib ?? Number.NaN;
  const storeKib =
    (((phaseOf(run, 'idle') === undefined
      ? Number.NaN
      : (secondsOf(run, phaseOf(run, 'idle') as Phase).at(-1)?.redis.usedMib ?? Number.NaN)) -
      before) *
      1024) /
    run.options.devices;
  const skipped = run.phases.reduce((sum, phase) => sum + phase.skipped, 0);
  return [
    `${run.at.slice(0, 10)}, ${run.machine}; ${run.options.env.CULVERT_REPLICAS ?? 'one of each service'}; heartbeat ${run.options.heartbeatS} s; devices ${run.options.by === 'edge' ? 'by the edge' : 'straight at ws-ingress'}; ${run.options.rate} visitors a second, each a new dial. ` +
      `The processes of devices and visitors share the machine (at most ${show(most('the load itself', ({ cpuPercent }) => cpuPercent))} % of a core).`,
    phases,
    cost,
    bus,
    `A connected device takes ${show(storeKib)} KiB of Redis' memory besides its entry in the registry; Redis held ${show(last?.redis.usedMib)} MiB at the end.` +
      (skipped > 0 ? ` ${skipped} visitors were not let in, because 2,000 were open already.` : ''),
  ].join('\n\n');
}
