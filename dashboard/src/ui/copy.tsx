import { useState } from 'react';
import { Icon } from './icons.tsx';

const SAID_MS = 2_000;

export function CopyButton({ text, what }: { text: string; what: string }) {
  const [done, setDone] = useState(false);
  const copy = async (): Promise<void> => {
    // Without https there is no clipboard for scripts, except on this very machine: the text can be selected then.
    await navigator.clipboard?.writeText(text).then(
      () => setDone(true),
      () => {},
    );
    setTimeout(() => setDone(false), SAID_MS);
  };
  return (
    <button
      type="button"
      className="icon-button"
      onClick={() => void copy()}
      aria-label={done ? 'Copied' : `Copy ${what}`}
      title="Copy"
    >
      <Icon name={done ? 'check' : 'copy'} />
    </button>
  );
}

export function CopyField({ label, text }: { label: string; text: string }) {
  return (
    <div className="copy-field">
      <label className="field">
        <span>{label}</span>
        <input readOnly value={text} onFocus={(event) => event.target.select()} />
      </label>
      <CopyButton text={text} what={label.toLowerCase()} />
    </div>
  );
}
