import { CopyField } from '../../ui/copy.tsx';
import { Dialog } from '../../ui/dialog.tsx';

export interface Secret {
  title: string;
  label: string;
  text: string;
  /** What to do with it. */
  advice: string;
}

/** A secret that the server does not keep: it is shown this once. */
export function ShownOnce({ secret, close }: { secret: Secret | undefined; close: () => void }) {
  return (
    <Dialog open={secret !== undefined} onOpenChange={(open) => !open && close()} title={secret?.title ?? ''}>
      <p>{secret?.advice} It is shown this once.</p>
      <CopyField label={secret?.label ?? ''} text={secret?.text ?? ''} />
    </Dialog>
  );
}
