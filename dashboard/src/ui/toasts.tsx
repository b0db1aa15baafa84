import { Toast } from '@base-ui/react/toast';
import type { ReactNode } from 'react';
import { Icon } from './icons.tsx';

const SHOWN_MS = 6_000;

/** Short news about what was just done. */
export function Toasts({ children }: { children: ReactNode }) {
  return (
    <Toast.Provider timeout={SHOWN_MS}>
      {children}
      <Toast.Portal>
        <Toast.Viewport className="toasts">
          <List />
        </Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  const { toasts } = Toast.useToastManager();
  return toasts.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className={`toast ${toast.type ?? ''}`}>
      <Toast.Title className="toast-title" />
      <Toast.Description className="toast-text" />
      <Toast.Close className="icon-button" aria-label="Dismiss">
        <Icon name="cross" />
      </Toast.Close>
    </Toast.Root>
  ));
}

/** `say('Shared', …)`, or `say('Not shared', why, true)`. */
export function useSay(): (title: string, description?: string, failed?: boolean) => void {
  const { add } = Toast.useToastManager();
  return (title, description, failed = false) =>
    void add({ title, description, type: failed ? 'failed' : 'ok', priority: failed ? 'high' : 'low' });
}
