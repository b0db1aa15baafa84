import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, textOf } from '../../api/client.ts';
import { webhooksQuery } from '../../api/queries.ts';
import type { Webhook } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Confirm } from '../../ui/dialog.tsx';
import { Field, FormDialog } from '../../ui/form-dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Empty, Failure, Loading } from '../../ui/states.tsx';
import { Ago } from '../../ui/time.tsx';
import { useSay } from '../../ui/toasts.tsx';
import { DeadLetters } from './dead-letters.tsx';
import { type Secret, ShownOnce } from './once.tsx';

export function WebhooksSection() {
  return useMay('operator') ? <Webhooks /> : <Empty title="Webhooks are for operators" />;
}

/** Where events are sent to. */
function Webhooks() {
  const webhooks = useQuery(webhooksQuery);
  const mayChange = useMay('admin');
  const queries = useQueryClient();
  const [adding, setAdding] = useState(false);
  const [asked, setAsked] = useState<Webhook>();
  const [made, setMade] = useState<Secret>();
  const again = (): Promise<void> => queries.invalidateQueries({ queryKey: webhooksQuery.queryKey });
  const onMade = async (secret: string): Promise<void> => {
    setMade({
      title: 'The webhook is added',
      label: 'Signing secret',
      text: secret,
      advice: 'Whoever receives verifies with it that messages come from here, as Standard Webhooks has it.',
    });
    await again();
  };
  const remove = async (): Promise<void> => {
    await api('DELETE', `/v1/webhooks/${asked?.id}`);
    queries.setQueryData(webhooksQuery.queryKey, (before) => before?.filter(({ id }) => id !== asked?.id)); // nothing of it is asked again
    await again();
  };
  return (
    <>
      <div className="section-head">
        <p className="muted">Events are sent to these addresses, signed, and tried again until they are taken.</p>
        {mayChange ? (
          <button type="button" className="button" onClick={() => setAdding(true)}>
            <Icon name="plus" /> Add webhook
          </button>
        ) : null}
      </div>
      {webhooks.data === undefined ? (
        webhooks.isError ? (
          <Failure error={webhooks.error} retry={() => void webhooks.refetch()} />
        ) : (
          <Loading what="Webhooks" />
        )
      ) : webhooks.data.length === 0 ? (
        <section className="card" aria-label="Webhooks">
          <Empty title="No webhooks">Programs that cannot follow the stream of events get them by one.</Empty>
        </section>
      ) : (
        webhooks.data.map((webhook) => (
          <WebhookCard key={webhook.id} webhook={webhook} again={again} remove={mayChange ? setAsked : undefined} />
        ))
      )}
      <AddWebhook open={adding} onOpenChange={setAdding} done={onMade} />
      <ShownOnce secret={made} close={() => setMade(undefined)} />
      <Confirm
        open={asked !== undefined}
        onOpenChange={(open) => !open && setAsked(undefined)}
        title="Remove the webhook?"
        text={`${asked?.url}: what was not delivered yet, and its dead letters, are gone with it.`}
        action="Remove"
        act={remove}
      />
    </>
  );
}

interface WebhookCardProps {
  webhook: Webhook;
  again: () => Promise<void>;
  remove: ((webhook: Webhook) => void) | undefined;
}

function WebhookCard({ webhook, again, remove }: WebhookCardProps) {
  const { id, url, types, devices, state, disabled_at, disabled_reason, created_at, created_by } = webhook;
  const say = useSay();
  const ping = async (): Promise<void> => {
    try {
      const { delivered, status, reason, ms } = await api<Ping>('POST', `/v1/webhooks/${id}/ping`);
      if (delivered) say('The ping was taken', `${status}, after ${ms} ms.`);
      else say('The ping was not taken', reason ?? `It answered ${status}.`, true);
    } catch (error) {
      say('The ping was not sent', textOf(error), true);
    }
  };
  const enable = async (): Promise<void> => {
    try {
      await api('POST', `/v1/webhooks/${id}/enable`);
      say('It delivers again', 'What came meanwhile is sent, too.');
    } catch (error) {
      say('It is as before', textOf(error), true);
    }
    await again();
  };
  return (
    <section className="card" aria-label={url}>
      <div className="card-head">
        <h2 className="url">{url}</h2>
        <span className={`badge ${state === 'on' ? 'connected' : 'grace'}`}>
          <i aria-hidden="true" />
          {state === 'on' ? 'On' : 'Disabled'}
        </span>
      </div>
      <p className="muted">
        {types.length === 0 ? 'All events but conn.*' : types.join(', ')}
        {devices.length === 0 ? ' of all devices' : ` of ${devices.join(', ')}`}; added <Ago at={created_at} /> by {created_by}
      </p>
      {disabled_at === null ? null : (
        <p className="fault">
          Disabled <Ago at={disabled_at} />: {disabled_reason}
        </p>
      )}
      <div className="actions">
        <button type="button" className="button small" onClick={() => void ping()}>
          <Icon name="send" /> Ping
        </button>
        {state === 'disabled' && remove !== undefined ? (
          <button type="button" className="button small" onClick={() => void enable()}>
            <Icon name="play" /> Enable
          </button>
        ) : null}
        {remove === undefined ? null : (
          <button type="button" className="button small danger-text" onClick={() => remove(webhook)}>
            <Icon name="trash" /> Remove
          </button>
        )}
      </div>
      <DeadLetters webhook={webhook} again={again} mayReplay={remove !== undefined} />
    </section>
  );
}

interface Ping {
  delivered: boolean;
  status: number | null;
  reason: string | null;
  ms: number;
}

interface AddWebhookProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  done: (secret: string) => Promise<void>;
}

function AddWebhook({ open, onOpenChange, done }: AddWebhookProps) {
  const [url, setUrl] = useState('');
  const [types, setTypes] = useState('');
  const [devices, setDevices] = useState('');
  const words = (text: string): string[] => text.split(/[\s,]+/).filter(Boolean);
  const add = async (): Promise<undefined> => {
    const wish = { url: url.trim(), types: words(types), devices: words(devices) };
    const { secret } = await api<{ secret: string }>('POST', '/v1/webhooks', wish);
    setUrl('');
    await done(secret);
  };
  return (
    <FormDialog {...{ open, onOpenChange }} title="Add a webhook" action="Add" ready={url.trim() !== ''} act={add}>
      <Field label="URL" value={url} onChange={setUrl} type="url" placeholder="https://example.org/culvert" maxLength={2000} />
      <Field
        label="Events"
        value={types}
        onChange={setTypes}
        placeholder="device.*, lease.expired"
        hint="Empty: all but those of single tcp visitors (conn.*)"
      />
      <Field label="Devices" value={devices} onChange={setDevices} placeholder="alice, bob" hint="Empty: all" />
    </FormDialog>
  );
}
