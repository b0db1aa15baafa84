import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api, textOf } from '../../api/client.ts';
import { deadQuery } from '../../api/queries.ts';
import type { Webhook } from '../../api/types.ts';
import { FormDialog } from '../../ui/form-dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { Scroll } from '../../ui/scroll.tsx';
import { Ago } from '../../ui/time.tsx';
import { useSay } from '../../ui/toasts.tsx';

interface DeadLettersProps {
  webhook: Webhook;
  again: () => Promise<void>;
  mayReplay: boolean;
}

const SHOWN = 20;

/** Events that were given up, and those of the past: both can be sent again. */
export function DeadLetters({ webhook: { id, replaying }, again, mayReplay }: DeadLettersProps) {
  const dead = useQuery(deadQuery(id));
  const queries = useQueryClient();
  const say = useSay();
  const [asking, setAsking] = useState(false);
  const [since, setSince] = useState('');
  const letters = dead.data ?? [];
  const replay = async (from?: string): Promise<void> => {
    await api('POST', `/v1/webhooks/${id}/replay`, from === undefined ? {} : { since: new Date(from).toISOString() });
    say('They are sent again', 'Whoever has taken one before knows it by its webhook-id.');
    await again();
    await queries.invalidateQueries({ queryKey: deadQuery(id).queryKey });
  };
  const replayDead = (): void => void replay().catch((error: unknown) => say('Nothing was sent again', textOf(error), true));
  const replaySince = async (): Promise<undefined> => {
    await replay(since);
  };
  return (
    <div className="dead">
      <div className="section-head">
        <h3>Dead letters</h3>
        <span className="muted">{replaying ? 'being sent again' : letters.length === 0 ? 'none' : letters.length}</span>
        {mayReplay ? (
          <span className="row-actions">
            {letters.length === 0 || replaying ? null : (
              <button type="button" className="button small" onClick={replayDead}>
                <Icon name="send" /> Send again
              </button>
            )}
            <button type="button" className="button small" onClick={() => setAsking(true)} disabled={replaying}>
              Replay since …
            </button>
          </span>
        ) : null}
      </div>
      {letters.length === 0 ? null : (
        <Scroll label="Dead letters">
          <table className="plain">
            <thead>
              <tr>
                {['Given up', 'Event', 'Device', 'Why'].map((name) => (
                  <th key={name} scope="col">
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {letters.slice(0, SHOWN).map(({ at, reason, event }) => (
                <tr key={event.id}>
                  <td>
                    <Ago at={at} />
                  </td>
                  <td>
                    <code>{event.type}</code>
                  </td>
                  <td>{event.subject}</td>
                  <td className="bad">{reason}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </Scroll>
      )}
      <FormDialog
        open={asking}
        onOpenChange={setAsking}
        title="Send events again"
        action="Replay"
        ready={since !== ''}
        act={replaySince}
      >
        <label className="field">
          <span>Every event since</span>
          <input type="datetime-local" value={since} onChange={(event) => setSince(event.target.value)} />
          <small className="muted">Those that the stream still keeps: 7 days, unless it is set otherwise</small>
        </label>
      </FormDialog>
    </div>
  );
}
