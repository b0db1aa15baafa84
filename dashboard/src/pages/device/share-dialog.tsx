import { useQuery, useQueryClient } from '@tanstack/react-query';
import { type FormEvent, useState } from 'react';
import { api, textOf } from '../../api/client.ts';
import { accessQuery, grantsQuery } from '../../api/queries.ts';
import type { Device } from '../../api/types.ts';
import { CopyField } from '../../ui/copy.tsx';
import { Dialog } from '../../ui/dialog.tsx';
import { Left } from '../../ui/time.tsx';

const HOUR_MS = 3_600_000;
const TIMES: readonly [name: string, ms: number][] = [
  ['15 minutes', HOUR_MS / 4],
  ['1 hour', HOUR_MS],
  ['8 hours', 8 * HOUR_MS],
  ['1 day', 24 * HOUR_MS],
  ['7 days', 7 * 24 * HOUR_MS],
];

interface ShareDialogProps {
  device: Device;
  open: boolean;
  onOpenChange: (open: boolean) => void;
}

/** Makes a link that opens the device's pages until it ends. */
export function ShareDialog({ device: { name, endpoints }, open, onOpenChange }: ShareDialogProps) {
  const queries = useQueryClient();
  const access = useQuery({ ...accessQuery(name), enabled: open });
  const pages = endpoints.filter(({ url }) => url !== undefined);
  const [ms, setMs] = useState(HOUR_MS);
  const [port, setPort] = useState(0);
  const [label, setLabel] = useState('');
  const [made, setMade] = useState<{ url: string; expires_at: number }>();
  const [fault, setFault] = useState('');
  const change = (next: boolean): void => {
    onOpenChange(next);
    setMade(undefined);
    setFault('');
  };
  const share = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setFault('');
    try {
      const wish = { for_ms: ms, label: label.trim(), ...(port === 0 ? {} : { port }) };
      setMade(await api<{ url: string; expires_at: number }>('POST', `/v1/devices/${name}/grants`, wish));
      await queries.invalidateQueries({ queryKey: grantsQuery(name).queryKey });
    } catch (error) {
      setFault(textOf(error));
    }
  };
  return (
    <Dialog open={open} onOpenChange={change} title={`Share ${name}`}>
      {made !== undefined ? (
        <>
          <p>
            Whoever has this link gets in for <Left until={made.expires_at} />. It is shown this once.
          </p>
          <CopyField label="Link" text={made.url} />
        </>
      ) : (
        <form onSubmit={(event) => void share(event)}>
          {access.data?.effective === 'public' ? (
            <p className="muted">Its pages are public at present: everybody who has the address gets in without a link, too.</p>
          ) : null}
          <label className="field">
            <span>For</span>
            <select value={ms} onChange={(event) => setMs(Number(event.target.value))}>
              {TIMES.map(([text, value]) => (
                <option key={value} value={value}>
                  {text}
                </option>
              ))}
            </select>
          </label>
          {pages.length > 1 ? (
            <label className="field">
              <span>Page</span>
              <select value={port} onChange={(event) => setPort(Number(event.target.value))}>
                <option value={0}>All pages of the device</option>
                {pages.map((page) => (
                  <option key={page.port} value={page.port}>
                    {page.host}
                  </option>
                ))}
              </select>
            </label>
          ) : null}
          <label className="field">
            <span>Whom it is for (optional)</span>
            <input value={label} maxLength={128} onChange={(event) => setLabel(event.target.value)} autoComplete="off" />
          </label>
          {fault === '' ? null : (
            <p className="fault" role="alert">
              {fault}
            </p>
          )}
          <div className="popup-actions">
            <button type="submit" className="button primary">
              Make a link
            </button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
