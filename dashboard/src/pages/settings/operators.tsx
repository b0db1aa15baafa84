import { ROLES, type Role } from '@culvert/contracts';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import { operatorsQuery } from '../../api/queries.ts';
import { useMay } from '../../app/session.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { Field, FormDialog } from '../../ui/form-dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Scroll } from '../../ui/scroll.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Ago } from '../../ui/time.tsx';
import { type Secret, ShownOnce } from './once.tsx';

const WHAT: Readonly<Record<Role, string>> = {
  viewer: 'sees everything but operators and the audit log',
  operator: 'changes devices, too',
  admin: 'changes operators and webhooks, too, and reads the audit log',
};

export function OperatorsSection() {
  return useMay('admin') ? <Operators /> : <Empty title="Operators are changed by admins" />;
}

/** Who may use the API and this dashboard. */
function Operators() {
  const operators = useQuery(operatorsQuery);
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [asked, setAsked] = useState<{ what: 'rotate' | 'remove'; name: string }>();
  const [made, setMade] = useState<Secret>();
  const again = (): Promise<void> => queries.invalidateQueries({ queryKey: operatorsQuery.queryKey });
  const show = async (name: string, token: string): Promise<void> => {
    setMade({ title: `The token of ${name}`, label: 'Operator token', text: token, advice: `Give it to ${name} by a safe way.` });
    await again();
  };
  const rotate = async (): Promise<void> => {
    const name = asked?.name ?? '';
    await show(name, (await api<{ token: string }>('POST', `/v1/operators/${name}/token`)).token);
  };
  const remove = async (): Promise<void> => {
    await api('DELETE', `/v1/operators/${asked?.name}`);
    await again();
  };
  return (
    <section className="card list-card" aria-labelledby="operators-title">
      <div className="card-head">
        <h2 id="operators-title">Operators</h2>
        <button type="button" className="button" onClick={() => setAdding(true)}>
          <Icon name="plus" /> Add operator
        </button>
      </div>
      {operators.data === undefined ? (
        operators.isError ? (
          <Failure error={operators.error} retry={() => void operators.refetch()} />
        ) : (
          <Loading what="Operators" />
        )
      ) : operators.data.length === 0 ? (
        <Empty title="There is only root">Whoever works with the system should have a name and a token of their own.</Empty>
      ) : (
        <Scroll label="Operators">
          <table className="plain">
            <caption className="only-read">Operators beside root</caption>
            <thead>
              <tr>
                {['Name', 'Role', 'Added', ''].map((name) => (
                  <th key={name} scope="col">
                    {name === '' ? <span className="only-read">Change</span> : name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {operators.data.map(({ name, role, created_at, created_by }) => (
                <tr key={name}>
                  <td>
                    <b>{name}</b>
                  </td>
                  <td>
                    {role} <small className="muted">{WHAT[role]}</small>
                  </td>
                  <td>
                    <Ago at={created_at} /> <small className="muted">by {created_by}</small>
                  </td>
                  <td>
                    <div className="row-actions">
                      <button type="button" className="button small" onClick={() => setAsked({ what: 'rotate', name })}>
                        <Icon name="key" /> New token<span className="only-read"> for {name}</span>
                      </button>
                      <button
                        type="button"
                        className="button small danger-text"
                        onClick={() => setAsked({ what: 'remove', name })}
                      >
                        <Icon name="trash" /> Remove<span className="only-read"> {name}</span>
                      </button>
                    </div>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      <AddOperator open={adding} onOpenChange={setAdding} done={show} />
      <ShownOnce secret={made} close={() => setMade(undefined)} />
      <Confirm
        open={asked?.what === 'rotate'}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title={`A new token for ${asked?.name}?`}
        text="The former one is dead at once, and so are logins that were opened with it."
        action="New token"
        act={rotate}
      />
      <Confirm
        open={asked?.what === 'remove'}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title={`Remove ${asked?.name}?`}
        text="Their token, their logins and whatever they have running end at once."
        action="Remove"
        act={remove}
      />
    </section>
  );
}

interface AddOperatorProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  done: (name: string, token: string) => Promise<void>;
}

function AddOperator({ open, onOpenChange, done }: AddOperatorProps) {
  const [name, setName] = useState('');
  const [role, setRole] = useState<Role>('viewer');
  const add = async (): Promise<undefined> => {
    const made = await api<{ name: string; token: string }>('POST', '/v1/operators', { name: name.trim(), role });
    setName('');
    await done(made.name, made.token);
  };
  return (
    <FormDialog {...{ open, onOpenChange }} title="Add an operator" action="Add" ready={name.trim() !== ''} act={add}>
      <Field label="Name" value={name} onChange={setName} maxLength={63} hint="a-z, 0-9 and inner hyphens, at most 63" />
      <label className="field">
        <span>Role</span>
        <select value={role} onChange={(event) => setRole(event.target.value as Role)}>
          {ROLES.map((one) => (
            <option key={one} value={one}>
              {one}: {WHAT[one]}
            </option>
          ))}
        </select>
      </label>
    </FormDialog>
  );
}
