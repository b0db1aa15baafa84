import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { claim, disclaim } from '../src/claims.ts';
import { freePort, takePort } from '../src/ports.ts';

let name: string;
beforeEach(() => {
  name = `culvert-test-${randomBytes(6).toString('hex')}`;
});
afterEach(() => rmSync(join(tmpdir(), name), { force: true }));

/** What another process prints that runs `code` with `claim` and `name`. */
function elsewhere(code: string): string {
  const { href } = new URL('../src/claims.ts', import.meta.url);
  const script = `import { claim } from ${JSON.stringify(href)}; const name = ${JSON.stringify(name)}; ${code}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return `${stdout}${stderr}`.trim();
}

it('a name is one process’ alone until it gives it back', () => {
  expect(claim(name)).toBe(true);
  expect(claim(name)).toBe(false);
  expect(elsewhere('console.log(claim(name))')).toBe('false');
  disclaim(name);
  expect(elsewhere('console.log(claim(name))')).toBe('true');
});

it('goes with its process, and is taken over from one that was killed', () => {
  elsewhere('claim(name)');
  expect(existsSync(join(tmpdir(), name))).toBe(false);
  elsewhere('claim(name); process.kill(process.pid, "SIGKILL")');
  expect(existsSync(join(tmpdir(), name))).toBe(true);
  expect(claim(name)).toBe(true);
  disclaim(name);
});

it('a name that is just being written counts as taken', () => {
  writeFileSync(join(tmpdir(), name), '');
  expect(claim(name)).toBe(false);
});

it('a private port that one stack has chosen is not free for another, before anybody has bound it', async () => {
  const port = await freePort();
  name = `culvert-private-port-${port}`;
  expect(elsewhere('console.log(claim(name))')).toBe('false');
  expect(await takePort(port)).toBe(false);
  disclaim(name);
  expect(await takePort(port)).toBe(true);
  disclaim(name);
});
