/**
 * `npm run test:containers`: a Docker engine in a network namespace of its own, local bases instead of those of a registry, all images,
 * and the tests in this folder with them. Ends with `N passed, N failed`. Without root, or where no engine can be started, it runs
 * what needs none, and says so.
 *
 * DOCKER_HOST set: that engine is used, with the images that are there under the names of deploy/compose.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { buildDashboard } from '../../dashboard/build.ts';
import { installSystemPackages } from '../../deploy/local/bin/system.mjs';
import { makeBases, SERVERS } from './bases.ts';
import { type Engine, startEngine } from './engine.ts';
import { buildImages } from './images.ts';
import { findApiServer, findHelm, findValidator } from './tools.ts';

const ROOT = join(import.meta.dirname, '../..');
const startedAt = performance.now();
const say = (text: string): void => console.log(`${Math.round((performance.now() - startedAt) / 1000)} s: ${text}`);

let engine: Engine | undefined;
let tests: ChildProcess | undefined;
/** Compiled beside the making of bases and images, most of which waits. */
let apiServer: Promise<string | undefined> = Promise.resolve(undefined);
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    tests?.kill('SIGTERM');
    void (engine?.stop() ?? Promise.resolve()).finally(() => process.exit(130));
  });
}

let code = 1;
try {
  await installSystemPackages(['redis-server', 'nats-server', 'nginx', 'clients', 'observability']);
  await buildDashboard();
  // Here, since the tests run where no other machine is reached.
  await Promise.all([findHelm(), findValidator()]);
  await installSystemPackages(['kubernetes']).catch((error: Error) => console.log(error.message));
  apiServer = findApiServer();
  if (process.env.DOCKER_HOST) code = await runTests({}, []);
  else {
    engine = await installSystemPackages(['containers'])
      .then(startEngine)
      .catch((error: Error) => {
        console.log(`NOT RUN: images and containers, for no Docker engine can be started here. ${error.message}`);
        return undefined;
      });
    code = engine === undefined ? await runTests({}, []) : await withImages(engine);
  }
} catch (error) {
  console.error(error);
  console.log('0 passed, 1 failed');
} finally {
  await engine?.stop();
  say('done');
}
process.exit(code);

async function withImages({ host, inside }: Engine): Promise<number> {
  say('the engine answers; making bases');
  await makeBases(host);
  say('bases are made; building images');
  await buildImages(host);
  say('images are built; testing them');
  const openFiles = /^Max open files\s+\S+\s+([0-9]+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? '65536';
  const env = { DOCKER_HOST: host, CULVERT_NOFILE: String(Math.min(65_536, Number(openFiles))), ...SERVERS };
  return runTests({ ...env, TESTCONTAINERS_RYUK_DISABLED: 'true' }, inside);
}

/** Their last line is ours, too. */
async function runTests(env: Record<string, string>, inside: readonly string[]): Promise<number> {
  await apiServer;
  const [command = '', ...args] = [...inside, process.execPath, join(import.meta.dirname, 'run.ts')];
  const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'] });
  tests = child;
  return new Promise((resolve) => {
    child.once('error', () => resolve(1));
    child.once('exit', (status) => resolve(status ?? 1));
  });
}
