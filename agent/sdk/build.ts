import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/** Makes `dist/`, the package as it is published: one bundle that needs no other package, and its declarations. */
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const own = JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string };
const root = JSON.parse(readFileSync(here('../../package.json'), 'utf8')) as { license: string };

rmSync(here('dist'), { recursive: true, force: true });
mkdirSync(here('dist'));
const bundle = await rolldown({ input: here('src/index.ts'), platform: 'node' });
await bundle.write({ file: here('dist/index.js'), format: 'esm' });
await bundle.close();
declare();
const manifest = {
  name: '@culvert/agent',
  version: own.version,
  description: 'Makes this device reachable from the internet through a Culvert server',
  license: root.license,
  type: 'module',
  exports: { '.': { types: './types/agent/sdk/src/index.d.ts', default: './index.js' } },
  files: ['index.js', 'types'],
  engines: { node: '>=22.18' },
};
writeFileSync(here('dist/package.json'), `${JSON.stringify(manifest, null, 2)}\n`);

/** Declarations of the SDK and of the workspace packages that they name, which a published package has to bring along. */
function declare(): void {
  const flags = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--rootDir', '../..', '--outDir', 'dist/types'];
  const base = ['--module', 'nodenext', '--target', 'es2024', '--lib', 'es2024', '--types', 'node', '--strict', '--skipLibCheck'];
  const compiler = here('../../node_modules/typescript/bin/tsc');
  const entries = ['src/index.ts', ...['contracts', 'wire'].map((name) => `../../libs/${name}/src/index.ts`)];
  const args = ['--ignoreConfig', ...base, '--allowImportingTsExtensions', ...flags, ...entries];
  execFileSync(process.execPath, [compiler, ...args], { cwd: here('.'), stdio: 'inherit' });
  for (const file of globSync('**/*.d.ts', { cwd: here('dist/types') }).map((name) => here(`dist/types/${name}`))) {
    const text = readFileSync(file, 'utf8')
      .replace(/(from '|import\(')@culvert\/([a-z-]+)'/g, (_, before: string, name: string) => {
        return `${before}${relative(dirname(file), here(`dist/types/libs/${name}/src/index.js`))}'`;
      })
      .replace(/(from '|import\(')(\.[^']*)\.ts'/g, "$1$2.js'");
    writeFileSync(file, text);
  }
}
