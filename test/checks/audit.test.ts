import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { auditDependencies } from '../bin/audit.ts';

const ROOT = join(import.meta.dirname, '../..');
let registry: ChildProcess | undefined;
/** npm remembers what it was told of a package: not in the cache that others use. */
let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'culvert-audit-'));
});
afterEach(() => {
  registry?.kill();
  rmSync(cache, { recursive: true, force: true });
});

/** A registry in a process of its own, for the audit blocks ours: it gives this answer to the question for advisories. */
async function answering(status: number, body: unknown): Promise<string[]> {
  const script = `
    const http = require('node:http');
    const server = http.createServer((request, response) => {
      request.resume();
      const asked = request.url === '/-/npm/v1/security/advisories/bulk';
      response.writeHead(asked ? ${status} : 404, { 'content-type': 'application/json' });
      response.end(asked ? ${JSON.stringify(JSON.stringify(body))} : '{}');
    });
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  registry = child;
  const port = await new Promise<string>((resolve) =>
    child.stdout.once('data', (text: Buffer) => resolve(text.toString().trim())),
  );
  return [`--registry=http://127.0.0.1:${port}/`, `--cache=${cache}`];
}
const advisory = (severity: string) => ({
  ws: [
    {
      id: 1,
      url: 'https://example.com/GHSA-x',
      title: 'a seeded hole',
      severity,
      vulnerable_versions: '*',
      cwe: [],
      cvss: { score: 9 },
    },
  ],
});

it('finds a hole of high severity in what the lockfile names', async () => {
  const result = auditDependencies(ROOT, await answering(200, advisory('high')));
  expect(result).toMatchObject({ verdict: 'found', text: expect.stringContaining('ws (high): a seeded hole') });
});
it('lets moderate ones pass, and says how much it looked at', async () => {
  const result = auditDependencies(ROOT, await answering(200, advisory('moderate')));
  expect(result).toMatchObject({ verdict: 'ok', text: expect.stringMatching(/ in [1-9][0-9]* packages/) });
});
it('does not take silence for a pass, and for a failure where an answer is required', async () => {
  const refusing = await answering(405, {});
  expect(auditDependencies(ROOT, refusing)).toMatchObject({ verdict: 'unknown', text: expect.stringContaining('405') });
  expect(auditDependencies(ROOT, refusing, { ...process.env, CULVERT_AUDIT: 'required' }).verdict).toBe('found');
  expect(auditDependencies(ROOT, ['--registry=http://127.0.0.1:1/'])).toMatchObject({ verdict: 'unknown' });
});
