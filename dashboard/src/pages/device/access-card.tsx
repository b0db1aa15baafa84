import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, textOf } from '../../api/client.ts';
import { accessQuery, grantsQuery } from '../../api/queries.ts';
import type { Access, Grant } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Icon } from '../../ui/icons.tsx';
import { Failure, Loading } from '../../ui/states.tsx';
import { Left } from '../../ui/time.tsx';
import { useSay } from '../../ui/toasts.tsx';

const CHOICES: readonly [Access['access'], string][] = [
  ['default', 'As the system'],
  ['public', 'Public'],
  ['private', 'Private'],
];

/** Who may open the device's pages. */
export function AccessCard({ name }: { name: string }) {
  const mayChange = useMay('operator');
  const say = useSay();
  const queries = useQueryClient();
  const access = useQuery(accessQuery(name));
  const grants = useQuery(grantsQuery(name));
  const change = useMutation({
    mutationFn: (wanted: Access['access']) => api<Access>('PUT', `/v1/devices/${name}/access`, { access: wanted }),
    onSuccess: (now) => queries.setQueryData(accessQuery(name).queryKey, now),
    onError: (error) => say('Access is as before', textOf(error), true),
  });
  const withdraw = useMutation({
    mutationFn: (id: string) => api('DELETE', `/v1/devices/${name}/grants/${id}`),
    onError: (error) => say('The link still opens', textOf(error), true),
    onSettled: () => queries.invalidateQueries({ queryKey: grantsQuery(name).queryKey }),
  });
  const effective = access.data?.effective;
  const chosen = change.isPending ? change.variables : access.data?.access;
  return (
    <section className="card" aria-labelledby="access-title">
      <div className="card-head">
        <h2 id="access-title">Access</h2>
        {effective === undefined ? null : (
          <span className={`badge ${effective}`} data-testid="access">
            <Icon name={effective === 'private' ? 'lock' : 'unlock'} />
            {effective === 'private' ? 'Private' : 'Public'}
          </span>
        )}
      </div>
      {access.isError ? (
        <Failure error={access.error} retry={() => void access.refetch()} />
      ) : access.data === undefined ? (
        <Loading what="Access" lines={2} />
      ) : (
        <>
          <p className="muted">
            {effective === 'private'
              ? 'Its pages open with a link, or for operators who are logged in.'
              : 'Everybody who has the address gets in.'}
          </p>
          {mayChange ? (
            <fieldset className="segmented">
              <legend className="only-read">Who may open its pages</legend>
              {CHOICES.map(([value, text]) => (
                <label key={value}>
                  <input type="radio" name="access" checked={chosen === value} onChange={() => change.mutate(value)} />
                  <span>{text}</span>
                </label>
              ))}
            </fieldset>
          ) : null}
        </>
      )}
      {grants.data === undefined || grants.data.length === 0 ? null : (
        <ul className="grants" aria-label="Links that open it">
          {grants.data.map((grant) => (
            <GrantRow key={grant.id} grant={grant} withdraw={mayChange ? () => withdraw.mutate(grant.id) : undefined} />
          ))}
        </ul>
      )}
    </section>
  );
}

function GrantRow({ grant, withdraw }: { grant: Grant; withdraw: (() => void) | undefined }) {
  const { label, created_by, expires_at, host } = grant;
  const what = label === '' ? `link by ${created_by}` : label;
  return (
    <li>
      <Icon name="link" />
      <span>
        {what}
        {host === null ? null : <small className="muted"> {host}</small>}
      </span>
      <span className="muted">
        <Left until={expires_at} /> left
      </span>
      {withdraw === undefined ? null : (
        <button type="button" className="icon-button" onClick={withdraw} aria-label={`Withdraw ${what}`} title="Withdraw">
          <Icon name="cross" />
        </button>
      )}
    </li>
  );
}
