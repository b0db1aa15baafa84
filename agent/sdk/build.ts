import { execFileSync } from 'node:child_process';
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/** Makes `dist/`, the package as it is published: bundles that need no other package, and their declarations. */
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const own = JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string };
const root = JSON.parse(readFileSync(here('../../package.json'), 'utf8')) as { license: string };
/** `node build.ts [FOLDER]`: anywhere else than `dist/`, which is emptied first. */
const out = resolve(process.argv[2] ?? here('dist'));

rmSync(out, { recursive: true, force: true });
mkdirSync(out);
const bundle = await rolldown({ input: here('src/index.ts'), platform: 'node' });
await bundle.write({ file: join(out, 'index.js'), format: 'esm' });
await bundle.close();
// A thread is a file of its own; its directory is that of the bundle that starts it.
const thread = await rolldown({ input: here('../../libs/relay/src/bulk-thread.ts'), platform: 'node' });
await thread.write({ file: join(out, 'bulk-thread.js'), format: 'esm' });
await thread.close();
declare();
const manifest = {
  name: '@culvert/agent',
  version: own.version,
  description: 'Makes this device reachable from the internet through a Culvert server',
  license: root.license,
  type: 'module',
  exports: { '.': { types: './types/agent/sdk/src/index.d.ts', default: './index.js' } },
  files: ['index.js', 'bulk-thread.js', 'types'],
  engines: { node: '>=22.18' },
};
writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);

/**
 * Declarations of the SDK and of the workspace packages that they name, which a published package has to bring along. By
 * its `paths` the compiler finds those as sources: what it finds in node_modules it emits only sometimes.
 */
function declare(): void {
  const compiler = here('../../node_modules/typescript/bin/tsc');
  const args = [compiler, '-p', 'tsconfig.build.json', '--outDir', join(out, 'types')];
  execFileSync(process.execPath, args, { cwd: here('.'), stdio: 'inherit' });
  for (const file of globSync('**/*.d.ts', { cwd: join(out, 'types') }).map((name) => join(out, 'types', name))) {
    const text = readFileSync(file, 'utf8')
      .replace(/(from '|import\(')@culvert\/([a-z-]+)'/g, (_, before: string, name: string) => {
        return `${before}${relative(dirname(file), join(out, `types/libs/${name}/src/index.js`))}'`;
      })
      .replace(/(from '|import\(')(\.[^']*)\.ts'/g, "$1$2.js'");
    writeFileSync(file, text);
  }
}
