import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { previousVersion } from './previous.ts';

const dir = mkdtempSync(join(tmpdir(), 'culvert-history-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const git = (...args: string[]): string => {
  const who = ['-c', 'user.name=test', '-c', 'user.email=test@example.com', '-c', 'commit.gpgsign=false'];
  return execFileSync('git', [...who, ...args], { cwd: dir, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
};
function commit(version: string, more = ''): string {
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'x', version, more }, null, 2));
  git('add', '.');
  git('commit', '-q', '-m', `${version} ${more}`);
  return git('rev-parse', 'HEAD');
}

it('the version before is the last commit that had another version', () => {
  git('init', '-q');
  commit('0.1.0');
  commit('0.1.0', 'more');
  expect(previousVersion(dir)).toBeUndefined();
  const last = commit('0.1.0', 'still more');
  commit('0.2.0');
  expect(previousVersion(dir)).toBe(last);
  const later = commit('0.2.0', 'more');
  expect(previousVersion(dir)).toBe(last);
  commit('0.3.0');
  expect(previousVersion(dir)).toBe(later);
});
