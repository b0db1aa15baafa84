import { type FormEvent, type ReactNode, useState } from 'react';
import { textOf } from '../api/client.ts';
import { Dialog } from './dialog.tsx';

export interface FormDialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  /** What the button says that does it. */
  action: string;
  ready?: boolean;
  /** The dialog closes when it is done, unless it answers `stay`; it says why when it is not. */
  act: () => Promise<'stay' | undefined>;
  children: ReactNode;
}

/** Asks for a few fields and does something with them. */
export function FormDialog({ open, onOpenChange, title, action, ready = true, act, children }: FormDialogProps) {
  const [fault, setFault] = useState('');
  const [busy, setBusy] = useState(false);
  const change = (next: boolean): void => {
    setFault('');
    onOpenChange(next);
  };
  const run = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setFault('');
    try {
      if ((await act()) !== 'stay') change(false);
    } catch (error) {
      setFault(textOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Dialog open={open} onOpenChange={change} title={title}>
      <form onSubmit={(event) => void run(event)}>
        {children}
        {fault === '' ? null : (
          <p className="fault" role="alert">
            {fault}
          </p>
        )}
        <div className="popup-actions">
          <button type="submit" className="button primary" disabled={busy || !ready}>
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

export interface FieldProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: string;
  placeholder?: string;
  maxLength?: number;
  type?: 'text' | 'number' | 'password' | 'url';
  autoComplete?: string;
  required?: boolean;
}

export function Field({ label, value, onChange, hint, type = 'text', autoComplete = 'off', ...rest }: FieldProps) {
  return (
    <label className="field">
      <span>{label}</span>
      <input
        {...rest}
        type={type}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        autoComplete={autoComplete}
        spellCheck={false}
      />
      {hint === undefined ? null : <small className="muted">{hint}</small>}
    </label>
  );
}

export function Lines({ label, value, onChange, hint, rows = 3 }: Omit<FieldProps, 'type'> & { rows?: number }) {
  return (
    <label className="field">
      <span>{label}</span>
      <textarea value={value} rows={rows} onChange={(event) => onChange(event.target.value)} spellCheck={false} />
      {hint === undefined ? null : <small className="muted">{hint}</small>}
    </label>
  );
}
