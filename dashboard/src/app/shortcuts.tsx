import { useNavigate } from '@tanstack/react-router';
import { useEffect, useRef } from 'react';
import { Dialog } from '../ui/dialog.tsx';
import { nextTheme } from './theme.ts';

const GO = { f: '/', i: '/instances', e: '/events', a: '/audit', s: '/settings' } as const;
const SECOND_KEY_MS = 1_500;

export const SHORTCUTS: readonly [keys: string, what: string][] = [
  ['/', 'Search devices'],
  ['g f', 'Go to the fleet'],
  ['g i', 'Go to the instances'],
  ['g e', 'Go to the events'],
  ['g a', 'Go to the audit log'],
  ['g s', 'Go to the settings'],
  ['↓ ↑', 'Next and previous device of the list'],
  ['p', 'Pause or go on (events)'],
  ['t', 'Colours: as the system, light, dark'],
  ['?', 'This list'],
];

const isTyping = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement && (target.isContentEditable || /^(?:INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** Keys of the whole page; those of one page are its own. */
export function useShortcuts(openHelp: () => void): void {
  const navigate = useNavigate();
  const pressedG = useRef(Number.NEGATIVE_INFINITY);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
      if (document.querySelector('[role="dialog"],[role="alertdialog"]') !== null) return;
      const afterG = event.timeStamp - pressedG.current < SECOND_KEY_MS;
      pressedG.current = event.key === 'g' ? event.timeStamp : Number.NEGATIVE_INFINITY;
      const to = GO[event.key as keyof typeof GO];
      if (afterG && to !== undefined) void navigate({ to });
      else if (event.key === '?') openHelp();
      else if (event.key === 't') nextTheme();
      else if (event.key === '/') {
        event.preventDefault();
        const search = document.querySelector<HTMLElement>('input[type="search"]');
        if (search !== null) search.focus();
        else void navigate({ to: '/' });
      }
    };
    addEventListener('keydown', onKey);
    return () => removeEventListener('keydown', onKey);
  }, [navigate, openHelp]);
}

export function ShortcutHelp({ open, onOpenChange }: { open: boolean; onOpenChange: (open: boolean) => void }) {
  return (
    <Dialog open={open} onOpenChange={onOpenChange} title="Keys">
      <dl className="keys">
        {SHORTCUTS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split(' ').map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
