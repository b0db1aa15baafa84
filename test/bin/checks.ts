import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { auditDependencies } from './audit.ts';

const ROOT = join(import.meta.dirname, '../..');
const bin = (name: string): string => join(ROOT, 'node_modules/.bin', name);
/** What holds sources of ours. */
export const SOURCE_FOLDERS = ['libs', 'services', 'agent', 'openresty', 'deploy', 'dashboard', 'test'];

const CHECK_MS = 180_000;

interface Check {
  name: string;
  command: string;
  args: string[];
}

const CHECKS: readonly Check[] = [
  { name: 'types', command: bin('tsc'), args: ['--noEmit', '-p', 'tsconfig.json'] },
  { name: 'types of the dashboard', command: bin('tsc'), args: ['--noEmit', '-p', 'dashboard/tsconfig.json'] },
  { name: 'lint and format', command: bin('biome'), args: ['ci', '--colors=off', '--reporter=summary', '.'] },
  // The chart brings its own copy of what services may do in Redis and NATS.
  { name: 'rights in the chart', command: process.execPath, args: ['deploy/kubernetes/rights.ts', '--check'] },
  { name: 'layers', command: bin('depcruise'), args: ['--config', '.dependency-cruiser.cjs', ...SOURCE_FOLDERS] },
];

export interface CheckResults {
  passed: number;
  failed: number;
}

/** Runs the checks that need no test: types, lint and format, rights, layers, dependencies. Prints the output of those that fail. */
export function runChecks(): CheckResults {
  const results = { passed: 0, failed: 0 };
  for (const { name, command, args } of CHECKS) {
    const started = performance.now();
    const run = spawnSync(command, args, { cwd: ROOT, encoding: 'utf8', timeout: CHECK_MS, maxBuffer: 64 * 1024 * 1024 });
    const well = run.status === 0;
    results[well ? 'passed' : 'failed'] += 1;
    console.log(`${well ? 'ok  ' : 'FAIL'} ${name} (${Math.round(performance.now() - started)} ms)`);
    if (!well) console.log(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}`);
  }
  const { verdict, text } = auditDependencies(ROOT);
  if (verdict === 'unknown') console.log(`NOT CHECKED dependencies: ${text}`);
  else {
    results[verdict === 'ok' ? 'passed' : 'failed'] += 1;
    console.log(`${verdict === 'ok' ? 'ok  ' : 'FAIL'} dependencies: ${text}`);
  }
  return results;
}
