import { Link } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import type { Traffic } from '../../api/types.ts';
import { useIsDark } from '../../app/theme.ts';
import { colorsIn } from '../../ui/colors.ts';
import { count } from '../../ui/format.ts';
import { Empty } from '../../ui/states.tsx';

const SHOWN = 12;

/** Who is visited when: a row for each of the busiest devices, a cell for each minute; fuller is more. */
export function TrafficMap({ busiest }: { busiest: Traffic['busiest'] }) {
  const rows = busiest.slice(0, SHOWN);
  if (rows.length === 0) return <Empty title="No visits in the last hour">They appear here as they come.</Empty>;
  const most = Math.max(...rows.flatMap(({ minutes }) => minutes));
  return (
    <>
      <ul className="map">
        {rows.map(({ device, visits, minutes }) => (
          <li key={device}>
            <Link to="/devices/$name" params={{ name: device }}>
              {device}
            </Link>
            <Cells minutes={minutes} most={most} />
            <span className="visits">
              {count(visits)}
              <span className="only-read"> visits</span>
            </span>
          </li>
        ))}
      </ul>
      <div className="map-axis muted" aria-hidden="true">
        <span>1 h ago</span>
        <span>30 min</span>
        <span>now</span>
      </div>
    </>
  );
}

function Cells({ minutes, most }: { minutes: number[]; most: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const isDark = useIsDark();
  // biome-ignore lint/correctness/useExhaustiveDependencies: the colour is read anew when the theme is another
  useEffect(() => {
    const paint = canvas.current?.getContext('2d');
    if (canvas.current === null || paint === null || paint === undefined) return;
    const color = colorsIn(canvas.current.parentElement ?? document.body);
    const [full, empty] = [color('--plot-1'), color('--cell-empty')];
    paint.clearRect(0, 0, minutes.length, 1);
    for (const [at, visits] of minutes.entries()) {
      // By the logarithm: a device with one visit is seen beside one with thousands.
      const share = visits === 0 ? 0 : 0.25 + 0.75 * (Math.log1p(visits) / Math.log1p(most));
      paint.globalAlpha = visits === 0 ? 1 : share;
      paint.fillStyle = visits === 0 ? empty : full;
      paint.fillRect(at, 0, 1, 1);
    }
  }, [minutes, most, isDark]);
  return <canvas ref={canvas} width={minutes.length} height={1} className="cells" aria-hidden="true" />;
}
