import { type FormEvent, useState } from 'react';
import { api, textOf } from '../../api/client.ts';
import { useOperator } from '../../app/session.ts';
import { Field } from '../../ui/form-dialog.tsx';
import { Empty } from '../../ui/states.tsx';
import { useSay } from '../../ui/toasts.tsx';

const ROOT = 'root';

/** Everybody's own: the password that logs them in beside their token. */
export function PasswordSection() {
  const { name } = useOperator();
  const say = useSay();
  const [current, setCurrent] = useState('');
  const [password, setPassword] = useState('');
  const [again, setAgain] = useState('');
  const [fault, setFault] = useState('');
  const [busy, setBusy] = useState(false);
  if (name === ROOT) {
    return <Empty title="root has no password">Its token is a setting of the server. Add an operator for yourself.</Empty>;
  }
  const change = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (password !== again) {
      setFault('The new password was typed in two ways.');
      return;
    }
    setBusy(true);
    setFault('');
    try {
      await api('PUT', '/v1/login/password', { password, ...(current === '' ? {} : { current }) });
      say('Your password is set', 'Logins by a former one are over, but this.');
      for (const clear of [setCurrent, setPassword, setAgain]) clear('');
    } catch (error) {
      setFault(textOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="card narrow" aria-labelledby="password-title">
      <div className="card-head">
        <h2 id="password-title">Password of {name}</h2>
      </div>
      <form onSubmit={(event) => void change(event)}>
        <input type="hidden" name="username" autoComplete="username" value={name} readOnly />
        <Field
          label="Present password"
          value={current}
          onChange={setCurrent}
          type="password"
          autoComplete="current-password"
          hint="Empty when you have none yet"
        />
        <Field
          label="New password"
          value={password}
          onChange={setPassword}
          type="password"
          autoComplete="new-password"
          hint="12 to 256 characters"
        />
        <Field label="Once more" value={again} onChange={setAgain} type="password" autoComplete="new-password" />
        {fault === '' ? null : (
          <p className="fault" role="alert">
            {fault}
          </p>
        )}
        <button type="submit" className="button primary" disabled={busy || password === ''}>
          Set password
        </button>
      </form>
    </section>
  );
}
