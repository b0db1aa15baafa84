import { useQuery } from '@tanstack/react-query';
import { liveVisitorsQuery, visitorsQuery } from '../../api/queries.ts';
import type { TcpVisitor, VisitorRequest } from '../../api/types.ts';
import { bytes, words } from '../../ui/format.ts';
import { Scroll } from '../../ui/scroll.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Clock } from '../../ui/time.tsx';

const SHOWN = 20;

/** Who is there, and who was there last. */
export function VisitorsCard({ name }: { name: string }) {
  const visitors = useQuery(visitorsQuery(name));
  const live = useQuery(liveVisitorsQuery(name)).data;
  const requests = merged(live?.requests, visitors.data?.requests);
  const tcp = merged(live?.tcp, visitors.data?.tcp);
  return (
    <section className="card" aria-labelledby="visitors-title">
      <div className="card-head">
        <h2 id="visitors-title">Visitors</h2>
        <span className="muted">live</span>
      </div>
      {visitors.isError ? (
        <Failure error={visitors.error} retry={() => void visitors.refetch()} />
      ) : visitors.data === undefined ? (
        <Loading what="Visitors" />
      ) : requests.length === 0 && tcp.length === 0 ? (
        <Empty title="No visitors yet">They appear here as they come.</Empty>
      ) : (
        <>
          <Requests requests={requests} />
          <Tcp visitors={tcp} />
        </>
      )}
    </section>
  );
}

/** What was told over what was read, the newest first. */
function merged<T extends { id: string; at: number }>(told: readonly T[] = [], read: readonly T[] = []): T[] {
  const ids = new Set(told.map(({ id }) => id));
  return [...told, ...read.filter(({ id }) => !ids.has(id))].sort((a, b) => b.at - a.at).slice(0, SHOWN);
}

function Requests({ requests }: { requests: VisitorRequest[] }) {
  if (requests.length === 0) return null;
  return (
    <Scroll label="Requests">
      <table className="plain">
        <caption className="only-read">Requests at the edge, newest first</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Visitor</th>
            <th scope="col">Request</th>
            <th scope="col">Status</th>
            <th scope="col" className="right">
              Took
            </th>
            <th scope="col" className="right">
              Sent
            </th>
          </tr>
        </thead>
        <tbody>
          {requests.map(({ id, at, remote, method, path, status, outcome, ms, bytes_out }) => (
            <tr key={id}>
              <td>
                <Clock at={at} />
              </td>
              <td>{remote}</td>
              <td className="path">
                <b>{method}</b> {path}
              </td>
              <td className={outcome === 'ok' ? '' : 'bad'}>{outcome === 'ok' ? status : `${status} ${words(outcome)}`}</td>
              <td className="right">{ms} ms</td>
              <td className="right">{bytes(bytes_out)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

function Tcp({ visitors }: { visitors: TcpVisitor[] }) {
  if (visitors.length === 0) return null;
  return (
    <Scroll label="TCP visitors">
      <table className="plain">
        <caption>TCP visitors</caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            <th scope="col">Visitor</th>
            <th scope="col">Port</th>
            <th scope="col">Outcome</th>
            <th scope="col" className="right">
              Took
            </th>
            <th scope="col" className="right">
              To device
            </th>
            <th scope="col" className="right">
              To visitor
            </th>
          </tr>
        </thead>
        <tbody>
          {visitors.map(({ id, at, remote, port, outcome, ms, to_device, to_visitor }) => (
            <tr key={id}>
              <td>
                <Clock at={at} />
              </td>
              <td>{remote}</td>
              <td>{port}</td>
              <td className={outcome === null || outcome === 'ok' ? '' : 'bad'}>
                {outcome === null ? <span className="badge connected">there now</span> : words(outcome)}
              </td>
              <td className="right">{ms === null ? '' : `${ms} ms`}</td>
              <td className="right">{to_device === null ? '' : bytes(to_device)}</td>
              <td className="right">{to_visitor === null ? '' : bytes(to_visitor)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}
