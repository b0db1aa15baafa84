import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SOURCE_FOLDERS } from '../bin/checks.ts';

const ROOT = join(import.meta.dirname, '../..');
const WORKSPACES = [
  ...['libs/contracts', 'libs/wire', 'libs/relay', 'libs/bus', 'libs/lease-store', 'libs/service-kit'],
  ...['services/ws-ingress', 'services/tcp-listener', 'services/lease-manager', 'services/port-allocator', 'services/admin'],
  ...['agent/sdk', 'agent/cli', 'openresty', 'deploy/local', 'dashboard'],
];

interface Violation {
  rule: { name: string };
  from: string;
  to: string;
}

/** What the real rules say about a tree. */
function violationsOf(folder: string): Violation[] {
  const args = ['--config', join(ROOT, '.dependency-cruiser.cjs'), '--output-type', 'json', ...SOURCE_FOLDERS];
  const run = spawnSync(join(ROOT, 'node_modules/.bin/depcruise'), args, {
    cwd: folder,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  const { summary } = JSON.parse(run.stdout) as { summary: { violations: Violation[] } };
  return summary.violations;
}

describe('the layer check', () => {
  let tree: string;
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(tree, path)), { recursive: true });
    writeFileSync(join(tree, path), text);
  };

  beforeAll(() => {
    // The packages of the repository by name and manifest, but with sources that import nothing.
    tree = mkdtempSync(join(tmpdir(), 'culvert-layers-'));
    mkdirSync(join(tree, 'node_modules/@culvert'), { recursive: true });
    for (const folder of WORKSPACES) {
      const manifest = JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as { name: string };
      write(`${folder}/package.json`, JSON.stringify({ ...manifest, exports: './src/index.ts' }));
      write(`${folder}/src/index.ts`, 'export const thing: number = 1;\n');
      symlinkSync(join(tree, folder), join(tree, 'node_modules', manifest.name));
    }
    write('test/fixture.ts', 'export const thing: number = 1;\n');
    write('node_modules/left-pad/package.json', JSON.stringify({ name: 'left-pad', version: '1.0.0', main: 'index.js' }));
    write('node_modules/left-pad/index.js', 'module.exports = 1;\n');
  });
  afterAll(() => rmSync(tree, { recursive: true, force: true }));

  const BREACHES: [what: string, file: string, text: string, rule: string][] = [
    [
      'a service that imports another by name',
      'services/admin/src/b.ts',
      "import { thing } from '@culvert/ws-ingress';\nexport const x = thing;",
      'layer-services-admin',
    ],
    [
      'a service that imports another by path',
      'services/admin/src/b.ts',
      "export * from '../../ws-ingress/src/index.ts';",
      'layer-services-admin',
    ],
    [
      'a type-only import across services',
      'services/admin/src/b.ts',
      "import type { thing } from '@culvert/tcp-listener';\nexport type X = typeof thing;",
      'layer-services-admin',
    ],
    [
      'a dynamic import across services',
      'services/admin/src/b.ts',
      "export const x = import('@culvert/tcp-listener');",
      'layer-services-admin',
    ],
    [
      'the lease store outside of its two services',
      'services/ws-ingress/src/b.ts',
      "export * from '@culvert/lease-store';",
      'layer-services-ws-ingress',
    ],
    ['contracts that import anything', 'libs/contracts/src/b.ts', "export * from '@culvert/wire';", 'layer-libs-contracts'],
    [
      'wire that opens sockets',
      'libs/wire/src/b.ts',
      "import { connect } from 'node:net';\nexport const x = connect;",
      'wire-does-no-io',
    ],
    ['wire that knows the bus', 'libs/wire/src/b.ts', "export * from '@culvert/bus';", 'layer-libs-wire'],
    ['an agent that knows the bus', 'agent/sdk/src/b.ts', "export * from '@culvert/bus';", 'layer-agent-sdk'],
    ['the local stack that imports a service', 'deploy/local/src/b.ts', "export * from '@culvert/admin';", 'layer-deploy-local'],
    [
      'a package that is not declared',
      'libs/relay/src/b.ts',
      "import pad from 'left-pad';\nexport const x = pad;",
      'no-undeclared-packages',
    ],
    [
      'a package that contracts must not need',
      'libs/contracts/src/b.ts',
      "import pad from 'left-pad';\nexport const x = pad;",
      'packages-libs-contracts',
    ],
    [
      'a source that imports test code',
      'libs/relay/src/b.ts',
      "export * from '../../../test/fixture.ts';",
      'no-test-code-in-sources',
    ],
    ['an import that leads nowhere', 'libs/relay/src/b.ts', "export * from './missing.ts';", 'no-unresolvable'],
  ];

  it('finds nothing in a tree that keeps the layers', () => {
    write('services/admin/src/b.ts', "export * from '@culvert/bus';\n");
    write('services/lease-manager/src/b.ts', "export * from '@culvert/lease-store';\n");
    expect(violationsOf(tree)).toEqual([]);
    rmSync(join(tree, 'services/admin/src/b.ts'));
    rmSync(join(tree, 'services/lease-manager/src/b.ts'));
  });

  it.each(BREACHES)('reports %s', (_, file, text, rule) => {
    write(file, `${text}\n`);
    try {
      const found = violationsOf(tree).filter(({ from }) => from === file);
      expect(found.map(({ rule: { name } }) => name)).toContain(rule);
    } finally {
      rmSync(join(tree, file));
    }
  });

  it('reports a cycle', () => {
    write('libs/relay/src/b.ts', "export * from './c.ts';\n");
    write('libs/relay/src/c.ts', "export * from './b.ts';\n");
    expect(violationsOf(tree).map(({ rule: { name } }) => name)).toContain('no-cycles');
    for (const file of ['b.ts', 'c.ts']) rmSync(join(tree, 'libs/relay/src', file));
  });
});
