import { useQuery } from '@tanstack/react-query';
import { usageQuery } from '../../api/queries.ts';
import { bytes } from '../../ui/format.ts';
import { Failure, Loading } from '../../ui/states.tsx';

/** What it has moved day by day, and what it is allowed. */
export function UsageCard({ name }: { name: string }) {
  const usage = useQuery(usageQuery(name));
  const most = Math.max(1, ...(usage.data?.days.map(({ total }) => total) ?? []));
  return (
    <section className="card" aria-labelledby="usage-title">
      <div className="card-head">
        <h2 id="usage-title">Data</h2>
        <span className="muted">bytes a day (UTC)</span>
      </div>
      {usage.isError ? (
        <Failure error={usage.error} retry={() => void usage.refetch()} />
      ) : usage.data === undefined ? (
        <Loading what="Data" lines={3} />
      ) : (
        <>
          <ul className="bars">
            {usage.data.days.map(({ day, total }) => (
              <li key={day}>
                <span className="muted">{day.slice(5)}</span>
                <span className="bar" aria-hidden="true">
                  <i style={{ width: `${(100 * total) / most}%` }} />
                </span>
                <span className="right">{bytes(total)}</span>
              </li>
            ))}
          </ul>
          {usage.data.cap === null && usage.data.alert === null ? null : (
            <p className="muted">
              {usage.data.alert === null ? '' : `Alert at ${bytes(usage.data.alert)}. `}
              {usage.data.cap === null ? '' : `Cut off at ${bytes(usage.data.cap)}.`}
            </p>
          )}
        </>
      )}
    </section>
  );
}
