import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../api/client.ts';
import { instancesQuery } from '../api/queries.ts';
import type { Instance } from '../api/types.ts';
import { useMay } from '../app/session.ts';
import { Confirm } from '../ui/dialog.tsx';
import { bytes, count, percent, words } from '../ui/format.ts';
import { Empty, Failure, Loading } from '../ui/states.tsx';
import { Since } from '../ui/time.tsx';
import { useSay } from '../ui/toasts.tsx';

const ORDER = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin'];
const WHAT: Readonly<Record<string, string>> = {
  'ws-ingress': 'control connections of devices',
  'tcp-listener': 'public ports and all bytes',
  'lease-manager': 'the life of leases',
  'port-allocator': 'who has which port',
  admin: 'the API and this dashboard',
};
const STATE = {
  live: { name: 'Live', badge: 'connected' },
  winding_down: { name: 'Winding down', badge: 'grace' },
  gone: { name: 'Gone', badge: 'offline' },
} as const;

/** The processes of the system: how busy each is, and what it serves. */
export function InstancesPage() {
  const instances = useQuery(instancesQuery);
  const say = useSay();
  const [asked, setAsked] = useState<string>();
  const mayWindDown = useMay('admin');
  const windDown = async (): Promise<void> => {
    await api('POST', `/v1/instances/${asked}/wind-down`);
    say(`${asked} winds down`, 'It takes no new work, finishes the old, and ends.');
    await instances.refetch();
  };
  const services = Map.groupBy(instances.data ?? [], ({ service }) => service);
  const names = [...services.keys()].sort((a, b) => rank(a) - rank(b));
  return (
    <div className="page">
      <div className="page-head">
        <h1>Instances</h1>
      </div>
      {instances.data === undefined ? (
        instances.isError ? (
          <Failure error={instances.error} retry={() => void instances.refetch()} />
        ) : (
          <Loading what="Instances" lines={8} />
        )
      ) : names.length === 0 ? (
        <Empty title="No instances are known" />
      ) : (
        names.map((service) => (
          <section key={service} className="card" aria-labelledby={`service-${service}`}>
            <div className="card-head">
              <h2 id={`service-${service}`}>{service}</h2>
              <span className="muted">{WHAT[service] ?? ''}</span>
            </div>
            <ul className="instances">
              {services.get(service)?.map((instance) => (
                <InstanceRow
                  key={instance.id}
                  instance={instance}
                  windDown={mayWindDown && instance.state === 'live' ? () => setAsked(instance.id) : undefined}
                />
              ))}
            </ul>
          </section>
        ))
      )}
      <Confirm
        open={asked !== undefined}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title={`Wind ${asked} down?`}
        text="It takes no new work, finishes what runs, and ends, as with SIGTERM. Whoever keeps it running may start it again."
        action="Wind down"
        act={windDown}
      />
    </div>
  );
}

const rank = (service: string): number => (ORDER.includes(service) ? ORDER.indexOf(service) : ORDER.length);

function InstanceRow({ instance, windDown }: { instance: Instance; windDown: (() => void) | undefined }) {
  const { id, state, address, started_at, load, devices, ports } = instance;
  const { name, badge } = STATE[state];
  const size = ports === null ? 0 : ports.last - ports.first + 1;
  return (
    <li>
      <div className="instance-name">
        <b>{id}</b>
        <span className={`badge ${badge}`}>
          <i aria-hidden="true" />
          {name}
        </span>
        <small className="muted">
          {address}
          {started_at === null ? null : (
            <>
              {address === '' ? '' : ', '}up <Since at={started_at} />
            </>
          )}
        </small>
      </div>
      <dl className="gauges">
        {load === null ? null : (
          <>
            <Gauge name="CPU" share={load.cpu} text={percent(load.cpu)} />
            <Gauge name="Event loop" share={load.loop} text={percent(load.loop)} />
          </>
        )}
        {ports === null ? null : (
          <Gauge
            name={`Ports ${ports.first}–${ports.last}`}
            share={ports.leased / size}
            text={`${count(ports.leased)} of ${count(size)}${ports.cooling === null || ports.cooling === 0 ? '' : `, ${count(ports.cooling)} cooling`}`}
          />
        )}
        {load === null ? null : <Figure name="Memory" text={bytes(load.memory)} />}
        {devices === null ? null : <Figure name="Devices" text={count(devices)} />}
        {Object.entries(load?.counts ?? {}).map(([what, value]) => (
          <Figure key={what} name={sentence(what)} text={count(value)} />
        ))}
      </dl>
      {windDown === undefined ? null : (
        <button type="button" className="button" onClick={windDown} aria-label={`Wind down ${id}`}>
          Wind down
        </button>
      )}
    </li>
  );
}

const sentence = (code: string): string => words(code).replace(/^./, (first) => first.toUpperCase());

function Gauge({ name, share, text }: { name: string; share: number; text: string }) {
  const width = Math.min(1, share);
  return (
    <div className="gauge">
      <dt>{name}</dt>
      <dd>
        {text}
        <span className={`bar ${width > 0.9 ? 'bad' : width > 0.7 ? 'warn' : ''}`} aria-hidden="true">
          <i style={{ width: `${width * 100}%` }} />
        </span>
      </dd>
    </div>
  );
}

function Figure({ name, text }: { name: string; text: string }) {
  return (
    <div className="gauge">
      <dt>{name}</dt>
      <dd>{text}</dd>
    </div>
  );
}
