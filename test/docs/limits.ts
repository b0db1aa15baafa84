import { formatDuration, LIMITS } from '@culvert/contracts';

const HEAD = `# Limits

Every timeout and every cap of the server side and the agent. Each is set by the environment variable in the first column;
\`_MS\` values take milliseconds or a duration such as \`30s\` or \`10m\`. A value out of range stops the start, with a message
that names the variable. This page is written from \`libs/contracts/src/limits.ts\`; a test fails when they differ.

| variable | default | range | why |
| --- | --- | --- | --- |
`;

function show(unit: 'ms' | 'bytes' | 'count', value: number): string {
  if (unit === 'ms') return value === 0 ? '0' : formatDuration(value);
  if (unit === 'bytes' && value >= 1024) return value >= 1024 ** 2 ? `${value / 1024 ** 2} MiB` : `${value / 1024} KiB`;
  return String(value);
}

/** The text of docs/LIMITS.md. */
export function limitsPage(): string {
  const rows = Object.entries(LIMITS).map(([name, { unit, default: value, min, max, reason }]) => {
    return `| \`CULVERT_LIMIT_${name}\` | ${show(unit, value)} | ${show(unit, min)} to ${show(unit, max)} | ${reason} |`;
  });
  return `${HEAD}${rows.join('\n')}\n`;
}
