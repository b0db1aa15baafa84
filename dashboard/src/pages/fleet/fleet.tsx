import { useQuery } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useDeferredValue, useEffect, useMemo, useState } from 'react';
import { useFleet } from '../../api/fleet.ts';
import { trafficQuery } from '../../api/queries.ts';
import type { FleetCounts, FleetState } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { STATE_NAMES, STATES } from '../../ui/badge.tsx';
import { count } from '../../ui/format.ts';
import { Icon } from '../../ui/icons.tsx';
import { Plot } from '../../ui/plot.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { AddDevice } from './add-device.tsx';
import { DeviceList } from './device-list.tsx';
import { type Order, search, sorted } from './search.ts';
import { TrafficMap } from './traffic-map.tsx';

/** What is typed goes into the address after this, so that it can be shared and is there again after `back`. */
const ADDRESS_MS = 300;

export function FleetPage() {
  const { q = '', state } = useSearch({ from: '/inside/' });
  const navigate = useNavigate({ from: '/' });
  const { devices, counts, error } = useFleet();
  const traffic = useQuery(trafficQuery);
  const [text, setText] = useState(q);
  const [order, setOrder] = useState<Order>({ by: 'name', down: false });
  const only = STATES.find((one) => one === state);
  const wanted = useDeferredValue(text);
  const found = useMemo(() => sorted(search(devices ?? [], wanted, only), order), [devices, wanted, only, order]);
  const mayAdd = useMay('operator');

  useEffect(() => {
    const timer = setTimeout(() => {
      if (text !== q)
        void navigate({ search: (before) => ({ ...before, q: text || undefined }) as { q?: string }, replace: true });
    }, ADDRESS_MS);
    return () => clearTimeout(timer);
  }, [text, q, navigate]);
  const choose = (next: FleetState | undefined): void =>
    void navigate({ search: (before) => ({ ...before, state: next }) as { state?: string }, replace: true });

  return (
    <div className="page">
      <div className="page-head">
        <h1>Fleet</h1>
        {mayAdd ? <AddDevice /> : null}
      </div>
      <Counts counts={counts} only={only} choose={choose} />
      <div className="split">
        <section className="card" aria-label="Traffic">
          {traffic.data !== undefined ? (
            <>
              <Plot title="Visits" series={traffic.data} kind="visits" height={150} />
              <Plot title="Bytes" series={traffic.data} kind="bytes" height={120} />
            </>
          ) : traffic.isError ? (
            <Failure error={traffic.error} retry={() => void traffic.refetch()} />
          ) : (
            <Loading what="Traffic" lines={7} />
          )}
        </section>
        <section className="card" aria-labelledby="map-title">
          <div className="card-head">
            <h2 id="map-title">Busiest devices</h2>
            <span className="muted">visits a minute, last hour</span>
          </div>
          {traffic.data === undefined ? <Loading what="The map" lines={7} /> : <TrafficMap busiest={traffic.data.busiest} />}
        </section>
      </div>
      <section className="card list-card" aria-labelledby="devices-title">
        <div className="card-head">
          <h2 id="devices-title">Devices</h2>
          <span className="muted" role="status">
            {devices === undefined
              ? ''
              : found.length === devices.length
                ? count(devices.length)
                : `${count(found.length)} of ${count(devices.length)}`}
          </span>
          <label className="search">
            <Icon name="search" />
            <span className="only-read">Search devices</span>
            <input
              type="search"
              value={text}
              onChange={(event) => setText(event.target.value)}
              placeholder="Name, host, address, label=value"
              autoComplete="off"
              spellCheck={false}
            />
            <kbd aria-hidden="true">/</kbd>
          </label>
        </div>
        {devices === undefined ? (
          error === undefined ? (
            <Loading what="The list of devices" lines={8} />
          ) : (
            <Failure error={error} />
          )
        ) : found.length > 0 ? (
          <DeviceList devices={found} order={order} setOrder={setOrder} />
        ) : devices.length === 0 ? (
          <Empty title="No devices yet">
            Add one here, or by <code>culvert device add NAME</code>; it appears by itself when it connects.
          </Empty>
        ) : (
          <Empty title="No device fits">
            <button
              type="button"
              className="button"
              onClick={() => {
                setText('');
                choose(undefined);
              }}
            >
              Show all
            </button>
          </Empty>
        )}
      </section>
    </div>
  );
}

interface CountsProps {
  counts: FleetCounts;
  only: FleetState | undefined;
  choose: (state: FleetState | undefined) => void;
}

function Counts({ counts, only, choose }: CountsProps) {
  const all = STATES.reduce((sum, state) => sum + counts[state], 0);
  return (
    <fieldset className="counts">
      <legend className="only-read">Devices by state</legend>
      <button type="button" className="count all" aria-pressed={only === undefined} onClick={() => choose(undefined)}>
        <b>{count(all)}</b>
        <span>All devices</span>
      </button>
      {STATES.map((state) => (
        <button
          key={state}
          type="button"
          className={`count ${state}`}
          aria-pressed={only === state}
          onClick={() => choose(only === state ? undefined : state)}
        >
          <b>{count(counts[state])}</b>
          <span>
            <i aria-hidden="true" />
            {STATE_NAMES[state]}
          </span>
        </button>
      ))}
    </fieldset>
  );
}
