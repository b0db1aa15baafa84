import { execFileSync } from 'node:child_process';
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/** Makes `dist/`, the package as it is published: one bundle, its declarations, the AsyncAPI document and the JSON Schemas. */
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const own = JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string; dependencies: Record<string, string> };
const bus = JSON.parse(readFileSync(here('../bus/package.json'), 'utf8')) as { dependencies: Record<string, string> };
const root = JSON.parse(readFileSync(here('../../package.json'), 'utf8')) as { license: string };
/** `node build.ts [FOLDER]`: anywhere else than `dist/`, which is emptied first. */
const out = resolve(process.argv[2] ?? here('dist'));

rmSync(out, { recursive: true, force: true });
mkdirSync(out);
const bundle = await rolldown({ input: here('src/index.ts'), platform: 'node', external: /^@nats-io\// });
await bundle.write({ file: join(out, 'index.js'), format: 'esm' });
await bundle.close();
declare();
cpSync(here('../../docs/events'), join(out, 'schemas'), { recursive: true });
const ours = ([name]: [string, string]): boolean => !name.startsWith('@culvert/');
const manifest = {
  name: '@culvert/events',
  version: own.version,
  description: 'Types and a consumer of the events of a Culvert server',
  license: root.license,
  type: 'module',
  exports: { '.': { types: './types/libs/events/src/index.d.ts', default: './index.js' }, './schemas/*': './schemas/*' },
  files: ['index.js', 'types', 'schemas'],
  engines: { node: '>=20' },
  // The declarations speak in the terms of typebox.
  dependencies: { ...Object.fromEntries(Object.entries(own.dependencies).filter(ours)), typebox: bus.dependencies.typebox },
};
writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);

/** Declarations of this package and of the workspace packages that they name, which a published package has to bring along. */
function declare(): void {
  const compiler = here('../../node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', join(out, 'types')], {
    cwd: here('.'),
    stdio: 'inherit',
  });
  for (const file of globSync('**/*.d.ts', { cwd: join(out, 'types') }).map((name) => join(out, 'types', name))) {
    const text = readFileSync(file, 'utf8')
      .replace(/(from '|import\(')@culvert\/([a-z-]+)(?:\/([a-z-]+))?'/g, (_, before: string, name: string, part = 'index') => {
        return `${before}${relative(dirname(file), join(out, `types/libs/${name}/src/${part}.js`))}'`;
      })
      .replace(/(from '|import\(')(\.[^']*)\.ts'/g, "$1$2.js'");
    writeFileSync(file, text);
  }
}
