import { Link } from '@tanstack/react-router';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { type KeyboardEvent, memo, useLayoutEffect, useRef, useState } from 'react';
import type { FleetDevice } from '../../api/types.ts';
import { StateBadge } from '../../ui/badge.tsx';
import { Left, Since } from '../../ui/time.tsx';
import type { Order, OrderKey } from './search.ts';

const ROW = 44;
const NARROW_ROW = 72;
const narrow = matchMedia('(max-width: 700px)');
const COLUMNS: readonly [key: OrderKey | undefined, name: string][] = [
  ['name', 'Name'],
  ['state', 'State'],
  ['since', 'Since'],
  [undefined, 'Reached at'],
  ['remote', 'Address'],
];

interface DeviceListProps {
  devices: readonly FleetDevice[];
  order: Order;
  setOrder: (order: Order) => void;
}

/** Only the rows in sight are in the page, however many there are. */
export function DeviceList({ devices, order, setOrder }: DeviceListProps) {
  const body = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => {
    const measure = (): void => {
      if (body.current !== null) setTop(body.current.getBoundingClientRect().top + scrollY);
    };
    measure();
    const resized = new ResizeObserver(measure);
    resized.observe(document.body);
    return () => resized.disconnect();
  }, []);
  const height = narrow.matches ? NARROW_ROW : ROW;
  const rows = useWindowVirtualizer({
    count: devices.length,
    estimateSize: () => height,
    overscan: 8,
    scrollMargin: top,
    getItemKey: (index) => devices[index]?.name ?? index,
  });

  const onKeyDown = (event: KeyboardEvent): void => {
    const step = event.key === 'ArrowDown' ? 1 : event.key === 'ArrowUp' ? -1 : 0;
    const row = (event.target as HTMLElement).closest<HTMLElement>('[data-index]');
    if (step === 0 || row === null) return;
    event.preventDefault();
    const next = Number(row.dataset.index) + step;
    if (next < 0 || next >= devices.length) return;
    rows.scrollToIndex(next, { align: 'auto' });
    requestAnimationFrame(() => body.current?.querySelector<HTMLElement>(`[data-index="${next}"] a`)?.focus());
  };

  return (
    <div className="devices" role="table" aria-labelledby="devices-title" aria-rowcount={devices.length + 1}>
      <div className="row head" role="row" aria-rowindex={1} tabIndex={-1}>
        {COLUMNS.map(([key, name]) => (
          <Head key={name} name={name} by={key} order={order} setOrder={setOrder} />
        ))}
      </div>
      <div className="rows" role="rowgroup" ref={body} style={{ height: rows.getTotalSize() }} onKeyDown={onKeyDown}>
        {rows.getVirtualItems().map(({ index, key, start }) => {
          const device = devices[index];
          return device === undefined ? null : <Row key={key} device={device} index={index} y={start - top} height={height} />;
        })}
      </div>
    </div>
  );
}

interface HeadProps {
  name: string;
  by: OrderKey | undefined;
  order: Order;
  setOrder: (order: Order) => void;
}

function Head({ name, by, order, setOrder }: HeadProps) {
  if (by === undefined) {
    return <span role="columnheader">{name}</span>;
  }
  const isOrder = order.by === by;
  const down = isOrder && order.down;
  return (
    <span role="columnheader" aria-sort={isOrder ? (down ? 'descending' : 'ascending') : 'none'}>
      <button type="button" onClick={() => setOrder({ by, down: isOrder && !order.down })}>
        {name}
        <i aria-hidden="true">{isOrder ? (down ? '↓' : '↑') : ''}</i>
      </button>
    </span>
  );
}

const Row = memo(function Row({ device, index, y, height }: { device: FleetDevice; index: number; y: number; height: number }) {
  const { name, state, since, due, remote, endpoints, labels } = device;
  const [first] = endpoints;
  const more = endpoints.length - 1;
  return (
    <div
      className="row"
      role="row"
      tabIndex={-1}
      aria-rowindex={index + 2}
      data-index={index}
      style={{ height, transform: `translateY(${y}px)` }}
    >
      <span role="cell" className="name">
        <Link to="/devices/$name" params={{ name }}>
          {name}
        </Link>
        {Object.entries(labels)
          .slice(0, 3)
          .map(([label, value]) => (
            <small key={label} className="label">
              {label}={value}
            </small>
          ))}
      </span>
      <span role="cell" className="state-cell">
        <StateBadge state={state} />
      </span>
      <span role="cell" className="muted since">
        {since === null ? '–' : <Since at={since} />}
        {state === 'grace' && due !== null ? (
          <small>
            , kept <Left until={due} />
          </small>
        ) : null}
      </span>
      <span role="cell" className="muted where">
        {first === undefined ? '–' : first.scheme === 'tcp' ? `${first.host}:${first.public_port}` : first.host}
        {more > 0 ? <small> +{more}</small> : null}
      </span>
      <span role="cell" className="muted remote">
        {remote || '–'}
      </span>
    </div>
  );
});
