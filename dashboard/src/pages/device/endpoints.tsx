import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import { deviceQuery, hostsQuery } from '../../api/queries.ts';
import type { Device, Endpoint } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { CopyButton } from '../../ui/copy.tsx';
import { Confirm } from '../../ui/dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Empty } from '../../ui/states.tsx';
import { HostDialog } from './host-dialog.tsx';

/** Where visitors reach it. Operators open private pages, too: the link goes by the API, which lets this browser in. */
export function Endpoints({ device: { name, endpoints, revoked } }: { device: Device }) {
  const mayOpen = useMay('operator');
  const hosts = useQuery({ ...hostsQuery(name), enabled: !revoked });
  const [renamed, setRenamed] = useState<{ port: number; label: string }>();
  const [asked, setAsked] = useState<{ port: number; label: string }>();
  const queries = useQueryClient();
  const reserved = (port: number): boolean => hosts.data?.some((one) => one.port === port) ?? false;
  const again = async (): Promise<void> => {
    await queries.invalidateQueries({ queryKey: hostsQuery(name).queryKey });
    await queries.invalidateQueries({ queryKey: deviceQuery(name).queryKey, exact: true });
  };
  const giveBack = async (): Promise<void> => {
    await api('DELETE', `/v1/devices/${name}/endpoints/${asked?.port}/host`);
    await again();
  };
  return (
    <section className="card" aria-labelledby="endpoints-title">
      <div className="card-head">
        <h2 id="endpoints-title">Endpoints</h2>
        {mayOpen && !revoked ? (
          <button type="button" className="button small" onClick={() => setRenamed({ port: 80, label: '' })}>
            <Icon name="plus" /> Reserve a name
          </button>
        ) : null}
      </div>
      {endpoints.length === 0 ? (
        <Empty title="No endpoints">
          {revoked ? 'It is revoked: add it again to give it a new token.' : 'It gets its name and ports when it connects.'}
        </Empty>
      ) : (
        <ul className="endpoints">
          {endpoints.map((endpoint) => (
            <EndpointRow
              key={endpoint.port}
              {...{ name, endpoint, mayOpen }}
              reserved={reserved(endpoint.port)}
              rename={() => setRenamed({ port: endpoint.port, label: endpoint.host.split('.')[0] ?? '' })}
            />
          ))}
        </ul>
      )}
      {hosts.data === undefined || hosts.data.length === 0 ? null : (
        <ul className="grants" aria-label="Reserved host names">
          {hosts.data.map(({ port, label }) => (
            <li key={port}>
              <Icon name="lock" />
              <span>
                {label} <small className="muted">device port {port}</small>
              </span>
              <span className="muted">reserved for ever</span>
              {mayOpen ? (
                <button
                  type="button"
                  className="icon-button"
                  onClick={() => setAsked({ port, label })}
                  aria-label={`Give ${label} back`}
                  title="Give back"
                >
                  <Icon name="cross" />
                </button>
              ) : null}
            </li>
          ))}
        </ul>
      )}
      <HostDialog device={name} wanted={renamed} close={() => setRenamed(undefined)} done={again} />
      <Confirm
        open={asked !== undefined}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title={`Give ${asked?.label ?? 'the name'} back?`}
        text="The present lease keeps it until it expires; after that anybody may reserve it."
        action="Give back"
        act={giveBack}
      />
    </section>
  );
}

interface RowProps {
  name: string;
  endpoint: Endpoint;
  mayOpen: boolean;
  reserved: boolean;
  rename: () => void;
}

function EndpointRow({ name, endpoint: { port, scheme, url, host, public_port }, mayOpen, reserved, rename }: RowProps) {
  const address = url ?? `${host}:${public_port}`;
  return (
    <li>
      <span className="scheme">{scheme}</span>
      {url === undefined ? (
        <code>{address}</code>
      ) : (
        <a href={mayOpen ? `/v1/open?device=${encodeURIComponent(name)}&port=${port}` : url} target="_blank" rel="noreferrer">
          {address} <Icon name="open" />
          <span className="only-read"> (opens in a new tab)</span>
        </a>
      )}
      <span className="muted">
        device port {port}
        {url === undefined ? `, public port ${public_port}` : reserved ? ', reserved' : ''}
      </span>
      {url === undefined || !mayOpen ? null : (
        <button
          type="button"
          className="icon-button"
          onClick={rename}
          aria-label={`Rename the host of port ${port}`}
          title="Rename"
        >
          <Icon name="edit" />
        </button>
      )}
      <CopyButton text={address} what={`address of port ${port}`} />
    </li>
  );
}
