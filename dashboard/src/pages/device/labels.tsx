import { useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { api } from '../../api/client.ts';
import type { Device } from '../../api/types.ts';
import { useMay } from '../../app/session.ts';
import { Field, FormDialog, Lines } from '../../ui/form-dialog.tsx';
import { Icon } from '../../ui/icons.tsx';
import { labelsOf } from '../../ui/labels.ts';

/** What people tell it apart by. */
export function LabelLine({ device: { name, labels, notes, revoked } }: { device: Device }) {
  const mayChange = useMay('operator') && !revoked;
  const queries = useQueryClient();
  const [open, setOpen] = useState(false);
  const [text, setText] = useState('');
  const [note, setNote] = useState('');
  const present = Object.entries(labels);
  const show = (): void => {
    setText(present.map(([label, value]) => `${label}=${value}`).join('\n'));
    setNote(notes);
    setOpen(true);
  };
  const change = async (): Promise<undefined> => {
    const wanted: Record<string, string | null> = labelsOf(text);
    for (const label of Object.keys(labels)) wanted[label] ??= null;
    await api('PATCH', `/v1/devices/${name}`, { labels: wanted, notes: note });
    await queries.invalidateQueries({ queryKey: ['device', name], exact: true });
  };
  if (present.length === 0 && notes === '' && !mayChange) return null;
  return (
    <div className="labels">
      {present.map(([label, value]) => (
        <small key={label} className="label">
          {label}={value}
        </small>
      ))}
      {notes === '' ? null : <span className="muted">{notes}</span>}
      {mayChange ? (
        <button type="button" className="button small" onClick={show}>
          <Icon name="edit" /> Labels and notes
        </button>
      ) : null}
      <FormDialog open={open} onOpenChange={setOpen} title={`Labels and notes of ${name}`} action="Save" act={change}>
        <Lines label="Labels" value={text} onChange={setText} hint="One a line: site=berlin" rows={4} />
        <Field label="Notes" value={note} onChange={setNote} maxLength={4096} />
      </FormDialog>
    </div>
  );
}
