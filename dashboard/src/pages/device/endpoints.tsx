import type { Device } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { CopyButton } from '../../ui/copy.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Empty } from '../../ui/states.tsx';

/** Where visitors reach it. Operators open private pages, too: the link goes by the API, which lets this browser in. */
export function Endpoints({ device: { name, endpoints, revoked } }: { device: Device }) {
  const mayOpen = useMay('operator');
  return (
    <section className="card" aria-labelledby="endpoints-title">
      <div className="card-head">
        <h2 id="endpoints-title">Endpoints</h2>
      </div>
      {endpoints.length === 0 ? (
        <Empty title="No endpoints">
          {revoked ? 'It is revoked: add it again to give it a new token.' : 'It gets its name and ports when it connects.'}
        </Empty>
      ) : (
        <ul className="endpoints">
          {endpoints.map(({ port, scheme, url, host, public_port }) => {
            const address = url ?? `${host}:${public_port}`;
            return (
              <li key={port}>
                <span className="scheme">{scheme}</span>
                {url === undefined ? (
                  <code>{address}</code>
                ) : (
                  <a
                    href={mayOpen ? `/v1/open?device=${encodeURIComponent(name)}&port=${port}` : url}
                    target="_blank"
                    rel="noreferrer"
                  >
                    {address} <Icon name="open" />
                    <span className="only-read"> (opens in a new tab)</span>
                  </a>
                )}
                <span className="muted">
                  device port {port}
                  {url === undefined ? '' : `, public port ${public_port}`}
                </span>
                <CopyButton text={address} what={`address of port ${port}`} />
              </li>
            );
          })}
        </ul>
      )}
    </section>
  );
}
