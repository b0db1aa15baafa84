import type { ReactNode } from 'react';

/** What may be wider than the page; by keyboard it is scrolled when it has the focus. */
export function Scroll({ label, children }: { label: string; children: ReactNode }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: otherwise keys could not scroll it
    <section className="scroll" aria-label={label} tabIndex={0}>
      {children}
    </section>
  );
}
