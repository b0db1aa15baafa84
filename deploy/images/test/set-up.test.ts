import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
/** As the Dockerfile has it. */
const LISTENER = 10_002;
const root = process.getuid?.() === 0;
if (!root) console.log('NOT CHECKED: what set-up gives to whom, for only root can give files to others');

describe.skipIf(!root)('set-up', { timeout: 60_000 }, () => {
  let secrets: string;
  beforeAll(() => {
    secrets = mkdtempSync(join(tmpdir(), 'culvert-set-up-'));
  });
  afterAll(() => rmSync(secrets, { recursive: true, force: true }));

  const run = (more: Record<string, string> = {}): Promise<unknown> =>
    promisify(execFile)(process.execPath, [join(ROOT, 'deploy/images/set-up.ts')], {
      env: { PATH: process.env.PATH, CULVERT_SECRETS: secrets, CULVERT_TLS_DIR: join(secrets, 'none'), ...more },
      timeout: 50_000,
    });
  const file = (part: string, name: string): string => join(secrets, part, name);

  it('gives listeners the certificate of the edge where they are published, and only then', async () => {
    await run();
    const chain = readFileSync(file('edge', 'chain.pem'), 'utf8');
    const password = readFileSync(file('tcp-listener', 'redis-url'), 'utf8');
    expect(existsSync(file('tcp-listener', 'key.pem'))).toBe(false);

    await run({ CULVERT_TRANSFERS: 'on' });
    for (const name of ['chain.pem', 'key.pem']) {
      expect(readFileSync(file('tcp-listener', name), 'utf8')).toBe(readFileSync(file('edge', name), 'utf8'));
      const { uid, gid, mode } = statSync(file('tcp-listener', name));
      expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: LISTENER, gid: LISTENER, mode: 0o600 });
    }
    expect(existsSync(file('ws-ingress', 'key.pem'))).toBe(false);
    expect(readFileSync(file('edge', 'chain.pem'), 'utf8')).toBe(chain);
    expect(readFileSync(file('tcp-listener', 'redis-url'), 'utf8')).toBe(password);

    await run();
    expect(existsSync(file('tcp-listener', 'key.pem'))).toBe(false);
  });
});
