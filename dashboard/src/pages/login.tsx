import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Navigate, useNavigate, useSearch } from '@tanstack/react-router';
import { type FormEvent, useState } from 'react';
import { ApiError, api, textOf } from '../api/client.ts';
import { sessionQuery } from '../api/queries.ts';
import type { Operator } from '../api/types.ts';
import { Logo } from '../ui/icons.tsx';
import { Starting } from '../ui/states.tsx';

/** The token becomes a cookie that no script can read, and is not kept anywhere. */
export function LoginPage() {
  const { to = '/' } = useSearch({ from: '/login' });
  const session = useQuery(sessionQuery);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [token, setToken] = useState('');
  const [fault, setFault] = useState('');
  const [busy, setBusy] = useState(false);
  if (session.isPending) return <Starting />;
  if (session.data !== null && session.data !== undefined) return <Navigate to={to} />;

  const logIn = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setFault('');
    try {
      const operator = await api<Operator>('POST', '/v1/login', { token: token.trim() });
      queries.setQueryData(sessionQuery.queryKey, operator);
      await navigate({ to });
    } catch (error) {
      const wrong = error instanceof ApiError && error.status === 401;
      setFault(wrong ? 'This token is wrong, or its operator was removed.' : textOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <main className="login">
      <form className="card" onSubmit={(event) => void logIn(event)}>
        <h1>
          <Logo /> Culvert
        </h1>
        <label className="field">
          <span>Operator token</span>
          <input
            type="password"
            name="token"
            autoComplete="current-password"
            required
            // biome-ignore lint/a11y/noAutofocus: the only field of the page
            autoFocus
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        {fault === '' ? null : (
          <p className="fault" role="alert">
            {fault}
          </p>
        )}
        <button type="submit" className="button primary" disabled={busy || token.trim() === ''}>
          Log in
        </button>
        <p className="muted">
          Yours came with <code>culvert operator add</code>. On a machine that runs <code>npm start</code>, that of{' '}
          <code>root</code> is <code>adminToken</code> in <code>.culvert/stack.json</code>.
        </p>
      </form>
    </main>
  );
}
