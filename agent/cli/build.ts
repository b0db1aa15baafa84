import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/**
 * Makes `dist/`, the package as it is published: the launcher and bundles that need no other package. The Node that the
 * launcher falls back to stays an optional dependency.
 */
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const own = JSON.parse(readFileSync(here('package.json'), 'utf8')) as { version: string };
const root = JSON.parse(readFileSync(here('../../package.json'), 'utf8')) as {
  license: string;
  description: string;
  optionalDependencies: Record<string, string>;
};
/** `node build.ts [FOLDER]`: anywhere else than `dist/`, which is emptied first. */
const out = resolve(process.argv[2] ?? here('dist'));

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, 'bin'), { recursive: true });
const bundle = await rolldown({ input: here('src/main.ts'), platform: 'node' });
await bundle.write({ file: join(out, 'lib/main.js'), format: 'esm' });
await bundle.close();
// A thread is a file of its own; its directory is that of the bundle that starts it.
const thread = await rolldown({ input: here('../../libs/relay/src/bulk-thread.ts'), platform: 'node' });
await thread.write({ file: join(out, 'lib/bulk-thread.js'), format: 'esm' });
await thread.close();
copyFileSync(here('bin/culvert.mjs'), join(out, 'bin/culvert.mjs'));
const manifest = {
  name: '@culvert/cli',
  version: own.version,
  description: root.description,
  license: root.license,
  type: 'module',
  bin: { culvert: 'bin/culvert.mjs' },
  files: ['bin', 'lib'],
  engines: { node: '>=18' },
  optionalDependencies: root.optionalDependencies,
};
writeFileSync(join(out, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
