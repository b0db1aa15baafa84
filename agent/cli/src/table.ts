/** Columns aligned by spaces, for people; the last column may be as long as it likes. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('   ')
        .trimEnd(),
    )
    .join('\n');
}

/** Milliseconds since 1970 or an ISO text as `2026-01-31 13:05:59Z`; `-` when there is none. */
export function when(time: unknown): string {
  if (typeof time !== 'number' && typeof time !== 'string') return '-';
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? '-' : `${date.toISOString().slice(0, 19).replace('T', ' ')}Z`;
}
