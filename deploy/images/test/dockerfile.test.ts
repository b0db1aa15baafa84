import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { NODE_FLAGS } from '../../local/src/node-flags.ts';
import { SERVICES } from '../../local/src/replicas.ts';

const ROOT = join(import.meta.dirname, '../../..');
const dockerfile = readFileSync(join(ROOT, 'deploy/images/Dockerfile'), 'utf8');
const compose = readFileSync(join(ROOT, 'deploy/compose/compose.yaml'), 'utf8');
const { version, workspaces } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  version: string;
  workspaces: string[];
};

describe('the Dockerfile', () => {
  it('copies the manifest of every workspace before packages are installed', () => {
    const listed = execFileSync('git', ['ls-files', ...workspaces.map((folder) => `${folder}/package.json`)], { cwd: ROOT });
    for (const path of listed.toString().trim().split('\n')) {
      expect(dockerfile).toContain(`COPY ${path} ${path.slice(0, -'package.json'.length)}\n`);
    }
  });

  it('has a user of its own for each part, by number, and the version of the repository', () => {
    const users = [...dockerfile.matchAll(/^USER ([0-9]+):\1$/gm)].map(([, id]) => id);
    expect(users).toEqual(['10001', '10002', '10003', '10004', '10005', '10006', '10010', '10010']);
    const versions = [...dockerfile.matchAll(/^ARG VERSION=(.+)$/gm)].map(([, said]) => said);
    expect(new Set(versions)).toEqual(new Set([version]));
    expect(compose).toContain(`CULVERT_VERSION:-${version}}`);
  });

  it('starts each service with the flags that it needs', () => {
    for (const name of SERVICES) {
      const words = ['/usr/local/bin/node', ...(NODE_FLAGS[name] ?? []), '/app/deploy/images/run.mjs', name];
      expect(dockerfile).toContain(`ENTRYPOINT [${words.map((word) => `"${word}"`).join(', ')}]\n`);
    }
  });
});
