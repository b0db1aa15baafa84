import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import { keysQuery } from '../../api/queries.ts';
import type { EnrolmentKey } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { Field, FormDialog, Lines } from '../../ui/form-dialog.tsx';
import { count } from '../../ui/format.ts';
import { Icon } from '../../ui/icons.tsx';
import { labelsOf } from '../../ui/labels.ts';
import { Scroll } from '../../ui/scroll.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Ago, Left } from '../../ui/time.tsx';
import { type Secret, ShownOnce } from './once.tsx';

const DAY_MS = 24 * 3_600_000;
const TIMES: readonly [name: string, ms: number | null][] = [
  ['1 hour', DAY_MS / 24],
  ['1 day', DAY_MS],
  ['7 days', 7 * DAY_MS],
  ['90 days', 90 * DAY_MS],
  ['for ever', null],
];

/** Keys with which devices fetch their own tokens at their first start. */
export function KeysSection() {
  const keys = useQuery(keysQuery);
  const mayChange = useMay('operator');
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [asked, setAsked] = useState<string>();
  const [made, setMade] = useState<Secret>();
  const again = (): Promise<void> => queries.invalidateQueries({ queryKey: keysQuery.queryKey });
  const withdraw = async (): Promise<void> => {
    await api('DELETE', `/v1/enrolment-keys/${asked}`);
    await again();
  };
  const onMade = async (key: string): Promise<void> => {
    setMade({
      title: 'The key is made',
      label: 'Enrolment key',
      text: key,
      advice: 'Devices that start with it (culvert agent --enroll-key-file FILE) fetch a token of their own.',
    });
    await again();
  };
  return (
    <section className="card list-card" aria-labelledby="keys-title">
      <div className="card-head">
        <h2 id="keys-title">Enrolment keys</h2>
        <span className="muted">{keys.data === undefined ? '' : count(keys.data.length)}</span>
        {mayChange ? (
          <button type="button" className="button" onClick={() => setAdding(true)}>
            <Icon name="plus" /> Make a key
          </button>
        ) : null}
      </div>
      {keys.data === undefined ? (
        keys.isError ? (
          <Failure error={keys.error} retry={() => void keys.refetch()} />
        ) : (
          <Loading what="Enrolment keys" />
        )
      ) : keys.data.length === 0 ? (
        <Empty title="No enrolment keys">With one, devices register themselves: no token has to be carried to each.</Empty>
      ) : (
        <Keys keys={keys.data} withdraw={mayChange ? setAsked : undefined} />
      )}
      <AddKey open={adding} onOpenChange={setAdding} done={onMade} />
      <ShownOnce secret={made} close={() => setMade(undefined)} />
      <Confirm
        open={asked !== undefined}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title={`Withdraw key ${asked}?`}
        text="No further device can enrol with it. Those that have done so stay."
        action="Withdraw"
        act={withdraw}
      />
    </section>
  );
}

function Keys({ keys, withdraw }: { keys: EnrolmentKey[]; withdraw: ((id: string) => void) | undefined }) {
  return (
    <Scroll label="Keys">
      <table className="plain">
        <caption className="only-read">Enrolment keys, newest first</caption>
        <thead>
          <tr>
            {['Key', 'Labels of its devices', 'Uses left', 'Ends in', 'Made', ''].map((name) => (
              <th key={name} scope="col">
                {name === '' ? <span className="only-read">Withdraw</span> : name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {keys.map(({ id, labels, notes, uses_left, expires_at, created_at, created_by }) => (
            <tr key={id}>
              <td>
                <code>{id}</code> <small className="muted">{notes}</small>
              </td>
              <td>
                {Object.entries(labels).map(([label, value]) => (
                  <small key={label} className="label">
                    {label}={value}
                  </small>
                ))}
              </td>
              <td>{uses_left === null ? 'any number' : count(uses_left)}</td>
              <td>{expires_at === null ? 'never' : <Left until={expires_at} />}</td>
              <td>
                <Ago at={created_at} /> <small className="muted">by {created_by}</small>
              </td>
              <td className="right">
                {withdraw === undefined ? null : (
                  <button
                    type="button"
                    className="icon-button"
                    onClick={() => withdraw(id)}
                    aria-label={`Withdraw key ${id}`}
                    title="Withdraw"
                  >
                    <Icon name="cross" />
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

interface AddKeyProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  done: (key: string) => Promise<void>;
}

function AddKey({ open, onOpenChange, done }: AddKeyProps) {
  const [uses, setUses] = useState('1');
  const [time, setTime] = useState('1 day');
  const [labels, setLabels] = useState('');
  const [notes, setNotes] = useState('');
  const add = async (): Promise<undefined> => {
    const wish = {
      labels: labelsOf(labels),
      notes: notes.trim(),
      uses: uses.trim() === '' ? null : Number(uses),
      expires_in_ms: TIMES.find(([name]) => name === time)?.[1] ?? null,
    };
    const { key } = await api<{ key: string }>('POST', '/v1/enrolment-keys', wish);
    await done(key);
  };
  return (
    <FormDialog open={open} onOpenChange={onOpenChange} title="Make an enrolment key" action="Make" act={add}>
      <Field label="Devices that may enrol with it" value={uses} onChange={setUses} type="number" hint="Empty: any number" />
      <label className="field">
        <span>Good for</span>
        <select value={time} onChange={(event) => setTime(event.target.value)}>
          {TIMES.map(([name]) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <Lines label="Labels its devices get" value={labels} onChange={setLabels} rows={2} hint="One a line: site=berlin" />
      <Field label="Notes" value={notes} onChange={setNotes} maxLength={4096} />
    </FormDialog>
  );
}
