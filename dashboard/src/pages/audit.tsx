import { useInfiniteQuery } from '@tanstack/react-query';
import { useDeferredValue, useState } from 'react';
import { get } from '../api/client.ts';
import type { AuditEntry } from '../api/types.ts';
import { useMay } from '../app/session.ts';
import { words } from '../ui/format.ts';
import { Scroll } from '../ui/scroll.tsx';
import { Empty, Failure, Loading } from '../ui/states.tsx';

interface Page {
  entries: AuditEntry[];
  cursor: number | null;
}
interface Filter {
  operator: string;
  action: string;
  object: string;
}

const LIMIT = 100;
const AGAIN_MS = 5_000;
const FIELDS: readonly [key: keyof Filter, name: string, example: string][] = [
  ['operator', 'Operator', 'root'],
  ['action', 'Action', 'device.revoke'],
  ['object', 'Object', 'alice'],
];

/** Who did what to which object, from where. */
export function AuditPage() {
  const isAdmin = useMay('admin');
  return (
    <div className="page">
      <div className="page-head">
        <h1>Audit</h1>
      </div>
      {isAdmin ? <Log /> : <Empty title="The audit log is for admins">Ask one of them for what you need to know.</Empty>}
    </div>
  );
}

function Log() {
  const [filter, setFilter] = useState<Filter>({ operator: '', action: '', object: '' });
  const wanted = useDeferredValue(filter);
  const log = useInfiniteQuery({
    queryKey: ['audit', wanted],
    queryFn: ({ pageParam, signal }) => {
      const query = new URLSearchParams({ limit: String(LIMIT) });
      for (const [key, value] of Object.entries(wanted)) if (value.trim() !== '') query.set(key, value.trim());
      if (pageParam !== null) query.set('cursor', String(pageParam));
      return get<Page>(`/v1/audit?${query}`, signal);
    },
    initialPageParam: null as number | null,
    getNextPageParam: ({ cursor }) => cursor,
    refetchInterval: ({ state }) => (state.data === undefined || state.data.pages.length > 1 ? false : AGAIN_MS),
    placeholderData: (before) => before,
  });
  const entries = log.data?.pages.flatMap((page) => page.entries) ?? [];
  return (
    <section className="card list-card" aria-label="Audit log">
      <form className="card-head tools" onSubmit={(event) => event.preventDefault()}>
        {FIELDS.map(([key, name, example]) => (
          <label key={key} className="filter">
            <span>{name}</span>
            <input
              value={filter[key]}
              onChange={(event) => setFilter({ ...filter, [key]: event.target.value })}
              placeholder={example}
              autoComplete="off"
              spellCheck={false}
            />
          </label>
        ))}
      </form>
      {log.isError ? (
        <Failure error={log.error} retry={() => void log.refetch()} />
      ) : log.data === undefined ? (
        <Loading what="The audit log" lines={8} />
      ) : entries.length === 0 ? (
        <Empty title="No entries" />
      ) : (
        <Scroll label="Entries">
          <table className="plain audit">
            <caption className="only-read">Newest first</caption>
            <thead>
              <tr>
                {['Time', 'Operator', 'Action', 'Object', 'From', 'Outcome', 'Detail'].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {entries.map((entry) => (
                <Entry key={entry.id} entry={entry} />
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      {log.hasNextPage ? (
        <button type="button" className="button" onClick={() => void log.fetchNextPage()} disabled={log.isFetchingNextPage}>
          {log.isFetchingNextPage ? 'Reading …' : 'Older entries'}
        </button>
      ) : null}
    </section>
  );
}

function Entry({ entry: { time, operator, role, action, object, from, outcome, detail } }: { entry: AuditEntry }) {
  const told = Object.entries(detail)
    .filter(([, value]) => value !== null && value !== '')
    .map(([key, value]) => `${words(key)}: ${value}`);
  return (
    <tr>
      <td>
        <time dateTime={new Date(time).toISOString()}>{new Date(time).toLocaleString()}</time>
      </td>
      <td>
        {operator} <small className="muted">{role ?? ''}</small>
      </td>
      <td>
        <code>{action}</code>
      </td>
      <td>{object}</td>
      <td>{from}</td>
      <td className={outcome === 'ok' ? 'ok' : 'bad'}>{words(outcome)}</td>
      <td className="muted detail">{told.join(', ')}</td>
    </tr>
  );
}
