import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { ApiError } from '../../api/client.ts';
import { deviceQuery, deviceTrafficQuery } from '../../api/queries.ts';
import type { Device } from '../../api/types.ts';
import { StateBadge, stateOf } from '../../ui/badge.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Plot } from '../../ui/plot.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Ago, Left, Since } from '../../ui/time.tsx';
import { AccessCard } from './access-card.tsx';
import { DeviceActions } from './actions.tsx';
import { Endpoints } from './endpoints.tsx';
import { History } from './history.tsx';
import { LabelLine } from './labels.tsx';
import { useDeviceFeed } from './live.ts';
import { PolicyCard } from './policy-card.tsx';
import { TraceCard } from './trace-card.tsx';
import { UsageCard } from './usage-card.tsx';
import { VisitorsCard } from './visitors.tsx';

export function DevicePage() {
  const { name } = useParams({ from: '/inside/devices/$name' });
  const device = useQuery(deviceQuery(name));
  return (
    <div className="page">
      <Link to="/" className="back">
        <Icon name="back" /> Fleet
      </Link>
      {device.data !== undefined ? (
        <Shown key={name} device={device.data} />
      ) : device.isError ? (
        device.error instanceof ApiError && device.error.status === 404 ? (
          <Empty title={`There is no device named ${name}`}>It may never have been added.</Empty>
        ) : (
          <Failure error={device.error} retry={() => void device.refetch()} />
        )
      ) : (
        <>
          <h1>{name}</h1>
          <Loading what="The device" lines={10} />
        </>
      )}
    </div>
  );
}

function Shown({ device }: { device: Device }) {
  const { name } = device;
  useDeviceFeed(name);
  const traffic = useQuery(deviceTrafficQuery(name));
  const state = stateOf(device);
  return (
    <>
      <div className="page-head device-head">
        <h1>{name}</h1>
        <StateBadge state={state} />
        <span className="muted state-text">
          <StateText device={device} />
        </span>
        <DeviceActions device={device} />
      </div>
      <LabelLine device={device} />
      <div className="columns">
        <div className="column">
          <Endpoints device={device} />
          <section className="card" aria-label="Traffic">
            {traffic.data !== undefined ? (
              <>
                <Plot title="Visits" series={traffic.data} kind="visits" height={140} />
                <Plot title="Bytes" series={traffic.data} kind="bytes" height={120} />
              </>
            ) : traffic.isError ? (
              <Failure error={traffic.error} retry={() => void traffic.refetch()} />
            ) : (
              <Loading what="Traffic" lines={6} />
            )}
          </section>
          <VisitorsCard name={name} />
        </div>
        <div className="column">
          <TraceCard name={name} />
          <AccessCard name={name} />
          <Facts device={device} />
          <PolicyCard name={name} />
          <UsageCard name={name} />
          <History name={name} />
        </div>
      </div>
    </>
  );
}

function StateText({ device: { revoked, state, state_detail, since, due } }: { device: Device }) {
  if (revoked) return 'Its token is dead.';
  if (since === null) return 'It has neither name nor ports.';
  if (state === 'connected') {
    return (
      <>
        for <Since at={since} />
      </>
    );
  }
  return (
    <>
      for <Since at={since} />
      {due === null ? null : state_detail === 'reconnecting' ? (
        <>
          ; visitors wait for it another <Left until={due} />
        </>
      ) : (
        <span className="grace">
          ; name and ports are kept for <b data-testid="grace">{<Left until={due} />}</b>
        </span>
      )}
    </>
  );
}

function Facts({ device }: { device: Device }) {
  const facts: [string, ReactNode][] = [
    ['Address', device.remote ?? '–'],
    ['Listener', device.listener ?? '–'],
    ['Ingress', device.ingress ?? '–'],
    ['Epoch', device.epoch ?? '–'],
    ['Added', <Ago key="added" at={device.created_at} />],
  ];
  return (
    <section className="card" aria-labelledby="facts-title">
      <div className="card-head">
        <h2 id="facts-title">Connection</h2>
      </div>
      <dl className="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
