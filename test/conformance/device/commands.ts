import { fileURLToPath } from 'node:url';

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

/** The agents of this repository, as the suite starts them, and what they do not claim. */
export const TYPESCRIPT: readonly string[] = [
  ...[process.execPath, path('../../../agent/cli/bin/culvert.mjs'), 'agent', '--server', '{server}', '--name', '{name}'],
  ...['--warm', '{warm}', '--inline', '{inline}', '--max-transfers', '{transfers}', '{mappings}'],
];
export const PYTHON: readonly string[] = [
  ...['python3', path('../python/device.py'), '--server', '{server}', '--name', '{name}', '--token-file', '{token_file}'],
  '{mappings}',
];
export const PYTHON_WITHOUT: ReadonlySet<string> = new Set([
  ...['reconnect', 'moves', 'warm', 'inline', 'proxy', 'limit'],
  ...['hostile-transfer', 'hostile-control'], // it believes the server
]);
