/** `npm run build:dashboard`: builds the dashboard into dashboard/dist, unless that is what the sources say already. */
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, globSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const HOME = import.meta.dirname;
const DIST = join(HOME, 'dist');
const STAMP = 'sources.sha256';
const SOURCES = ['src/**/*', 'index.html', 'vite.config.ts', 'build.ts', 'package.json'];
/** What shrinks; the rest is compressed already. */
const TEXT = new Set(['.js', '.css', '.html', '.svg', '.json']);

/** Digest of all that the build is made of, the versions of its packages included. */
function digestOfSources(): string {
  const hash = createHash('sha256');
  for (const pattern of SOURCES) {
    for (const path of globSync(pattern, { cwd: HOME }).sort()) {
      if (extname(path) === '') continue; // a folder
      hash.update(`${path}\0`).update(readFileSync(join(HOME, path)));
    }
  }
  const lock = JSON.parse(readFileSync(join(HOME, '../package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string }>;
  };
  const { dependencies } = JSON.parse(readFileSync(join(HOME, 'package.json'), 'utf8')) as { dependencies: object };
  for (const name of Object.keys(dependencies)) hash.update(`${name}@${lock.packages[`node_modules/${name}`]?.version}\0`);
  return hash.digest('hex');
}

/** Answers false when there was nothing to do. Safe when several run at once: the folder is replaced as a whole. */
export async function buildDashboard(): Promise<boolean> {
  const digest = digestOfSources();
  const stamp = join(DIST, STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === digest) return false;
  const { build } = await import('vite');
  const { NODE_ENV } = process.env;
  const made = mkdtempSync(join(HOME, '.dist-'));
  try {
    await build({ configFile: join(HOME, 'vite.config.ts'), build: { outDir: made } });
    for (const path of globSync('**/*', { cwd: made })) {
      if (!TEXT.has(extname(path))) continue;
      const text = readFileSync(join(made, path));
      writeFileSync(join(made, `${path}.gz`), gzipSync(text, { level: 9 }));
      writeFileSync(join(made, `${path}.br`), brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 10 } }));
    }
    writeFileSync(join(made, STAMP), digest);
    chmodSync(made, 0o755);
    replace(made);
  } finally {
    rmSync(made, { recursive: true, force: true });
    // Vite leaves `production` behind: services that this process starts would take it for theirs.
    if (NODE_ENV === undefined) delete process.env.NODE_ENV;
    else process.env.NODE_ENV = NODE_ENV;
  }
  return true;
}

function replace(made: string): void {
  const old = `${made}.old`;
  try {
    if (existsSync(DIST)) renameSync(DIST, old);
    renameSync(made, DIST);
  } catch (error) {
    if (!existsSync(join(DIST, STAMP))) throw error; // else another build was quicker
  } finally {
    rmSync(old, { recursive: true, force: true });
  }
}

if (import.meta.main) {
  const from = performance.now();
  const built = await buildDashboard();
  if (built) console.log(`the dashboard is built (${Math.round(performance.now() - from)} ms)`);
}
