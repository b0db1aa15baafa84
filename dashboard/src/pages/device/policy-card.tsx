import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import { policyQuery, usageQuery } from '../../api/queries.ts';
import type { Policy } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Field, FormDialog, Lines } from '../../ui/form-dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Failure, Loading } from '../../ui/states.tsx';
import { type PolicyText, policyOfText, rulesOf, textOfPolicy } from './policy-form.ts';

/** What the device is allowed. */
export function PolicyCard({ name }: { name: string }) {
  const mayChange = useMay('operator');
  const policy = useQuery(policyQuery(name));
  const queries = useQueryClient();
  const [text, setText] = useState<PolicyText>();
  const rules = policy.data === undefined ? [] : rulesOf(policy.data);
  const save = async (): Promise<undefined> => {
    if (text === undefined) return;
    const now = await api<Policy>('PUT', `/v1/devices/${name}/policy`, policyOfText(text));
    queries.setQueryData(policyQuery(name).queryKey, now);
    await queries.invalidateQueries({ queryKey: usageQuery(name).queryKey });
  };
  return (
    <section className="card" aria-labelledby="policy-title">
      <div className="card-head">
        <h2 id="policy-title">Policy</h2>
        {mayChange && policy.data !== undefined ? (
          <button
            type="button"
            className="button small"
            onClick={() => setText(textOfPolicy(policy.data))}
            aria-label="Change the policy"
          >
            <Icon name="edit" /> Change
          </button>
        ) : null}
      </div>
      {policy.isError ? (
        <Failure error={policy.error} retry={() => void policy.refetch()} />
      ) : policy.data === undefined ? (
        <Loading what="The policy" lines={2} />
      ) : rules.length === 0 ? (
        <p className="muted">No rules of its own: the limits of the system hold.</p>
      ) : (
        <dl className="facts">
          {rules.map(([rule, value]) => (
            <div key={rule}>
              <dt>{rule}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
      )}
      <FormDialog
        open={text !== undefined}
        onOpenChange={(open) => !open && setText(undefined)}
        title={`Policy of ${name}`}
        action="Save"
        act={save}
      >
        {text === undefined ? null : <Fields text={text} setText={setText} />}
      </FormDialog>
    </section>
  );
}

function Fields({ text, setText }: { text: PolicyText; setText: (text: PolicyText) => void }) {
  const bind = (key: keyof PolicyText) => ({ value: text[key], onChange: (value: string) => setText({ ...text, [key]: value }) });
  return (
    <>
      <p className="muted">An empty field is no rule. It holds at once; ports from the next connection of the device on.</p>
      <div className="pair">
        <Field label="Visitors at once" {...bind('visitors')} type="number" />
        <Field label="New visitors a second" {...bind('perSecond')} />
        <Field label="Bytes a second" {...bind('bandwidth')} placeholder="10 MiB" />
        <Field label="Alert, bytes a day" {...bind('alert')} placeholder="500 MiB" />
        <Field label="Cap, bytes a day" {...bind('cap')} placeholder="1 GiB" />
        <Field label="Ports it may offer" {...bind('ports')} placeholder="tcp:22, http:*" />
      </div>
      <Field
        label="Ports for operators"
        {...bind('forward')}
        placeholder="22, 5432"
        hint="By culvert forward, without a public port"
      />
      <Lines
        label="Who may visit a tcp port"
        {...bind('allow')}
        rows={2}
        hint="One port a line: 22: 10.0.0.0/8, 2001:db8::/32. Ports that are not named are open to all."
      />
    </>
  );
}
