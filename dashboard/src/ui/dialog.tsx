import { AlertDialog as BaseAlert } from '@base-ui/react/alert-dialog';
import { Dialog as Base } from '@base-ui/react/dialog';
import { type ReactNode, useState } from 'react';
import { textOf } from '../api/client.ts';
import { Icon } from './icons.tsx';

export interface DialogProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  children: ReactNode;
}

export function Dialog({ open, onOpenChange, title, children }: DialogProps) {
  return (
    <Base.Root open={open} onOpenChange={onOpenChange}>
      <Base.Portal>
        <Base.Backdrop className="backdrop" />
        <Base.Popup className="popup">
          <div className="popup-head">
            <Base.Title>{title}</Base.Title>
            <Base.Close className="icon-button" aria-label="Close">
              <Icon name="cross" />
            </Base.Close>
          </div>
          {children}
        </Base.Popup>
      </Base.Portal>
    </Base.Root>
  );
}

export interface ConfirmProps {
  open: boolean;
  onOpenChange: (open: boolean) => void;
  title: string;
  text: ReactNode;
  /** What the button says that does it. */
  action: string;
  /** Must be typed before it can be done. */
  word?: string;
  /** The dialog closes when it is done, and says why when it is not. */
  act: () => Promise<void>;
}

/** Asks before something that cannot be taken back. */
export function Confirm({ open, onOpenChange, title, text, action, word, act }: ConfirmProps) {
  const [typed, setTyped] = useState('');
  const [fault, setFault] = useState('');
  const [busy, setBusy] = useState(false);
  const change = (next: boolean): void => {
    setTyped('');
    setFault('');
    onOpenChange(next);
  };
  const run = async (): Promise<void> => {
    setBusy(true);
    try {
      await act();
      change(false);
    } catch (error) {
      setFault(textOf(error));
    } finally {
      setBusy(false);
    }
  };
  return (
    <BaseAlert.Root open={open} onOpenChange={change}>
      <BaseAlert.Portal>
        <BaseAlert.Backdrop className="backdrop" />
        <BaseAlert.Popup className="popup">
          <BaseAlert.Title className="popup-title">{title}</BaseAlert.Title>
          <BaseAlert.Description className="popup-text">{text}</BaseAlert.Description>
          {word === undefined ? null : (
            <label className="field">
              <span>
                Type <b>{word}</b> to confirm
              </span>
              <input value={typed} onChange={(event) => setTyped(event.target.value)} autoComplete="off" spellCheck={false} />
            </label>
          )}
          {fault === '' ? null : (
            <p className="fault" role="alert">
              {fault}
            </p>
          )}
          <div className="popup-actions">
            <BaseAlert.Close className="button">Cancel</BaseAlert.Close>
            <button
              type="button"
              className="button danger"
              disabled={busy || (word !== undefined && typed !== word)}
              onClick={() => void run()}
            >
              {action}
            </button>
          </div>
        </BaseAlert.Popup>
      </BaseAlert.Portal>
    </BaseAlert.Root>
  );
}
