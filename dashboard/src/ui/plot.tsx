import { useEffect, useMemo, useRef } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Series } from '../api/types.ts';
import { useIsDark } from '../app/theme.ts';
import { colorsIn } from './colors.ts';
import { bytes, count } from './format.ts';

interface Line {
  name: string;
  /** Name of the colour in the style sheet. */
  color: string;
  /** Values a second. */
  values: number[];
}

export interface PlotProps {
  title: string;
  series: Series;
  kind: 'visits' | 'bytes';
  height?: number;
}

const MOST_POINTS = 180;
/** Marks of an axis of bytes stand at powers of two. */
const BYTE_STEPS = Array.from({ length: 45 }, (_, power) => 2 ** power);
const FONT = '11px system-ui, sans-serif';

/** Steps put together until they fit the width, as rates. */
function linesOf({ steps, step_ms, from }: Series, kind: PlotProps['kind']): { times: number[]; lines: Line[] } {
  const whole = steps.slice(0, -1); // the last is not over
  const group = Math.max(1, Math.ceil(whole.length / MOST_POINTS));
  const seconds = (group * step_ms) / 1000;
  const names: Line[] =
    kind === 'visits'
      ? [
          { name: 'requests/s', color: '--plot-1', values: [] },
          { name: 'TCP visitors/s', color: '--plot-2', values: [] },
          { name: 'failed/s', color: '--plot-bad', values: [] },
        ]
      : [
          { name: 'to visitors/s', color: '--plot-1', values: [] },
          { name: 'from visitors/s', color: '--plot-2', values: [] },
        ];
  const times: number[] = [];
  for (let i = 0; i + group <= whole.length; i += group) {
    const some = whole.slice(i, i + group);
    const sum = (key: keyof (typeof some)[number]): number => some.reduce((total, step) => total + step[key], 0) / seconds;
    times.push((from + i * step_ms) / 1000);
    const values = kind === 'visits' ? [sum('requests'), sum('tcp'), sum('failed')] : [sum('bytes_out'), sum('bytes_in')];
    for (const [at, value] of values.entries()) names[at]?.values.push(value);
  }
  return { times, lines: names };
}

/** Rates of the last hour, painted on a canvas; the sums are said in words as well. */
export function Plot({ title, series, kind, height = 170 }: PlotProps) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const isDark = useIsDark();
  const { times, lines } = useMemo(() => linesOf(series, kind), [series, kind]);
  const latest = useRef({ times, lines });
  latest.current = { times, lines };
  const format = kind === 'bytes' ? bytes : (value: number): string => String(Number(value.toPrecision(2)));

  // biome-ignore lint/correctness/useExhaustiveDependencies: colours are read anew when the theme is another
  useEffect(() => {
    const div = place.current;
    if (div === null) return;
    const color = colorsIn(div);
    const say = kind === 'bytes' ? bytes : (value: number): string => String(Number(value.toPrecision(2)));
    const axis = { stroke: color('--muted'), grid: { stroke: color('--grid'), width: 1 }, ticks: { show: false }, font: FONT };
    const made = new uPlot(
      {
        width: div.clientWidth || 300,
        height,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        padding: [8, 16, 0, 0],
        scales: { y: { range: (_plot, _min, max) => [0, max > 0 ? max * 1.1 : 1] } },
        axes: [
          { ...axis, size: 26, values: (_plot, at) => at.map((s) => new Date(s * 1000).toTimeString().slice(0, 5)) },
          {
            ...axis,
            size: kind === 'bytes' ? 64 : 44,
            values: (_plot, at) => at.map(say),
            ...(kind === 'bytes' ? { incrs: BYTE_STEPS } : {}),
          },
        ],
        series: [
          {},
          ...latest.current.lines.map(({ name, color: token }) => ({
            label: name,
            stroke: color(token),
            width: 1.5,
            fill: token === '--plot-1' ? color('--plot-fill') : undefined,
            points: { show: false },
          })),
        ] as uPlot.Series[],
      },
      [latest.current.times, ...latest.current.lines.map(({ values }) => values)] as uPlot.AlignedData,
      div,
    );
    plot.current = made;
    const resized = new ResizeObserver(() => made.setSize({ width: div.clientWidth, height }));
    resized.observe(div);
    return () => {
      resized.disconnect();
      made.destroy();
      plot.current = undefined;
    };
  }, [kind, height, isDark]);

  useEffect(() => {
    plot.current?.setData([times, ...lines.map(({ values }) => values)] as uPlot.AlignedData);
  }, [times, lines]);

  return (
    <figure className="plot">
      <figcaption>
        <h3>{title}</h3>
        <ul className="legend">
          {lines.map(({ name, color, values }) => (
            <li key={name}>
              <i className={color.slice(2)} aria-hidden="true" />
              {name} <b>{format(values.at(-1) ?? 0)}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={place} className="canvas" aria-hidden="true" />
      <p className="only-read">{summaryOf(series, kind)}</p>
    </figure>
  );
}

function summaryOf({ steps }: Series, kind: PlotProps['kind']): string {
  const sum = (key: keyof Series['steps'][number]): number => steps.reduce((total, step) => total + step[key], 0);
  return kind === 'visits'
    ? `In the last hour: ${count(sum('requests'))} requests, ${count(sum('tcp'))} TCP visitors, ${count(sum('failed'))} failed.`
    : `In the last hour: ${bytes(sum('bytes_out'))} to visitors, ${bytes(sum('bytes_in'))} from visitors.`;
}
