import { spawnSync } from 'node:child_process';

export interface AuditResult {
  /** `unknown`: the registry did not say. That is no pass: it is printed as not checked, and fails where an answer is required. */
  verdict: 'ok' | 'found' | 'unknown';
  text: string;
}

const AUDIT_MS = 60_000;
const FAILING = ['high', 'critical'];

interface Report {
  message?: string;
  error?: { summary?: string };
  vulnerabilities?: Record<string, { severity: string; via: (string | { title?: string; url?: string })[] }>;
  metadata?: { dependencies?: { total?: number } };
}

/**
 * Asks the npm registry for known holes in what the lockfile names; high and critical ones are failures.
 * CULVERT_AUDIT=required makes a registry that does not answer a failure, too: for places that are known to be online.
 *
 * @param args More options of npm audit.
 */
export function auditDependencies(root: string, args: readonly string[] = [], env: NodeJS.ProcessEnv = process.env): AuditResult {
  const line = ['audit', '--json', '--audit-level=none', '--fetch-retries=0', '--fetch-timeout=20000', ...args];
  const run = spawnSync('npm', line, { cwd: root, env, encoding: 'utf8', timeout: AUDIT_MS, maxBuffer: 64 * 1024 * 1024 });
  let report: Report;
  try {
    report = JSON.parse(run.stdout ?? '') as Report;
  } catch {
    report = { message: run.error?.message ?? 'npm audit said nothing that can be read' };
  }
  const { vulnerabilities, metadata } = report;
  if (vulnerabilities === undefined || metadata === undefined) {
    const why = `the registry gave no answer (${report.message ?? report.error?.summary ?? `npm ended with ${run.status}`})`;
    return { verdict: env.CULVERT_AUDIT === 'required' ? 'found' : 'unknown', text: why };
  }
  const bad = Object.entries(vulnerabilities).filter(([, { severity }]) => FAILING.includes(severity));
  const total = metadata.dependencies?.total ?? 0;
  if (bad.length === 0) return { verdict: 'ok', text: `no known hole of severity ${FAILING.join(' or ')} in ${total} packages` };
  const lines = bad.map(([name, { severity, via }]) => {
    const what = via.map((one) => (typeof one === 'string' ? `by way of ${one}` : `${one.title ?? ''} ${one.url ?? ''}`.trim()));
    return `  ${name} (${severity}): ${what.join('; ')}`;
  });
  return { verdict: 'found', text: `known holes:\n${lines.join('\n')}` };
}
