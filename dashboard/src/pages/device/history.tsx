import { useQuery } from '@tanstack/react-query';
import { historyQuery } from '../../api/queries.ts';
import { words } from '../../ui/format.ts';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Ago } from '../../ui/time.tsx';

const SHOWN = 20;

/** What has happened to it, newest first. */
export function History({ name }: { name: string }) {
  const history = useQuery(historyQuery(name));
  return (
    <section className="card" aria-labelledby="history-title">
      <div className="card-head">
        <h2 id="history-title">Last events</h2>
      </div>
      {history.isError ? (
        <Failure error={history.error} retry={() => void history.refetch()} />
      ) : history.data === undefined ? (
        <Loading what="Events" />
      ) : history.data.length === 0 ? (
        <Empty title="No events yet" />
      ) : (
        <ol className="history">
          {history.data.slice(0, SHOWN).map(({ id, type, time, data }) => (
            <li key={id}>
              <b>{type}</b>
              <span className="muted">{typeof data.reason === 'string' ? words(data.reason) : ''}</span>
              <span className="muted">
                <Ago at={Date.parse(time)} />
              </span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
