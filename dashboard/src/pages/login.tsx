import { useQuery, useQueryClient } from '@tanstack/react-query';
import { Navigate, useNavigate, useSearch } from '@tanstack/react-router';
import { type FormEvent, useState } from 'react';
import { ApiError, api, textOf } from '../api/client.ts';
import { sessionQuery } from '../api/queries.ts';
import type { Operator } from '../api/types.ts';
import { Logo } from '../ui/icons.tsx';
import { Starting } from '../ui/states.tsx';

/** The token, or name and password, become a cookie that no script can read, and are not kept anywhere. */
export function LoginPage() {
  const { to = '/' } = useSearch({ from: '/login' });
  const session = useQuery(sessionQuery);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const [byName, setByName] = useState(false);
  const [name, setName] = useState('');
  const [secret, setSecret] = useState('');
  const [fault, setFault] = useState('');
  const [busy, setBusy] = useState(false);
  if (session.isPending) return <Starting />;
  if (session.data !== null && session.data !== undefined) return <Navigate to={to} />;

  const logIn = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setFault('');
    try {
      const operator = await api<Operator>(
        'POST',
        '/v1/login',
        byName ? { name: name.trim(), password: secret } : { token: secret.trim() },
      );
      queries.setQueryData(sessionQuery.queryKey, operator);
      await navigate({ to });
    } catch (error) {
      const wrong = error instanceof ApiError && error.status === 401;
      const words = byName ? 'The name or the password is wrong.' : 'This token is wrong, or its operator was removed.';
      setFault(wrong ? words : textOf(error));
    } finally {
      setBusy(false);
    }
  };
  const toggle = (): void => {
    setByName(!byName);
    setSecret('');
    setFault('');
  };
  return (
    <main className="login">
      <form className="card" onSubmit={(event) => void logIn(event)}>
        <h1>
          <Logo /> Culvert
        </h1>
        {byName ? (
          <label className="field">
            <span>Name</span>
            <input
              name="username"
              autoComplete="username"
              required
              // biome-ignore lint/a11y/noAutofocus: the first field of the page
              autoFocus
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
          </label>
        ) : null}
        <label className="field">
          <span>{byName ? 'Password' : 'Operator token'}</span>
          <input
            key={byName ? 'password' : 'token'}
            type="password"
            name={byName ? 'password' : 'token'}
            autoComplete="current-password"
            required
            // biome-ignore lint/a11y/noAutofocus: the only field of the page
            autoFocus={!byName}
            value={secret}
            onChange={(event) => setSecret(event.target.value)}
          />
        </label>
        {fault === '' ? null : (
          <p className="fault" role="alert">
            {fault}
          </p>
        )}
        <button
          type="submit"
          className="button primary"
          disabled={busy || secret.trim() === '' || (byName && name.trim() === '')}
        >
          Log in
        </button>
        <button type="button" className="button" onClick={toggle}>
          {byName ? 'By a token instead' : 'By name and password instead'}
        </button>
        <p className="muted">
          {byName ? 'You set your password in the settings, once you are in by your token. ' : ''}Your token came with{' '}
          <code>culvert operator add</code>. On a machine that runs <code>npm start</code>, that of <code>root</code> is{' '}
          <code>adminToken</code> in <code>.culvert/stack.json</code>.
        </p>
      </form>
    </main>
  );
}
