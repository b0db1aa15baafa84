import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cleanEnv } from './run-cli.ts';

/** What npm publishes must work where nothing of this repository is. */
describe('the published packages', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-pack-'));
  const run = (file: string, args: string[], cwd: string) =>
    execFileSync(file, args, {
      cwd,
      encoding: 'utf8',
      env: cleanEnv({ PATH: `${dirname(process.execPath)}:${process.env.PATH}` }),
    });
  const npm = (args: string[], cwd: string) => run('npm', args, cwd);

  beforeAll(() => {
    writeFileSync(join(dir, 'package.json'), '{"private": true, "type": "module"}');
    const tarballs = ['../../cli', '../../sdk'].map((name) => {
      const folder = fileURLToPath(new URL(name, import.meta.url));
      const built = join(dir, `built-${basename(name)}`); // not dist/, which may be in use
      run(process.execPath, ['build.ts', built], folder);
      const [packed] = JSON.parse(npm(['pack', '--json', '--pack-destination', dir], built)) as {
        filename: string;
      }[];
      return join(dir, packed?.filename ?? '');
    });
    npm(['install', '--offline', '--omit=optional', '--no-audit', '--no-fund', ...tarballs], dir);
  }, 60_000);
  afterAll(() => rmSync(dir, { recursive: true }));

  it('bring a command that needs no other package', () => {
    const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string };
    expect(run(join(dir, 'node_modules/.bin/culvert'), ['--version'], dir).trim()).toBe(manifest.version);
    expect(run(join(dir, 'node_modules/.bin/culvert'), ['agent', '--help'], dir)).toContain('MAPPING');
  });

  it('bring a library that can be imported', () => {
    const script = "import { parseMapping } from '@culvert/agent'; console.log(parseMapping('80').ok)";
    writeFileSync(join(dir, 'use.js'), script);
    expect(run(process.execPath, ['use.js'], dir).trim()).toBe('true');
  });

  it.runIf(process.platform === 'linux')(
    'bring the thread for bulk, which runs where koffi is installed beside them',
    async () => {
      symlinkSync(fileURLToPath(new URL('../../../node_modules/koffi', import.meta.url)), join(dir, 'node_modules/koffi'));
      for (const bundle of ['cli/lib/main.js', 'agent/index.js']) {
        const thread = new URL('bulk-thread.js', pathToFileURL(join(dir, 'node_modules/@culvert', bundle)));
        const worker = new Worker(thread, { execArgv: [], workerData: { wake: 0 } });
        expect(await once(worker, 'message')).toEqual([{ ready: true }]);
        await worker.terminate();
      }
    },
  );

  it('bring declarations that a strict compiler takes', () => {
    const script = [
      "import { createAgent, type Mapping } from '@culvert/agent';",
      "const mappings: Mapping[] = [{ port: 80, scheme: 'http', target: { host: 'localhost', port: 80 } }];",
      "const agent = createAgent({ servers: ['https://x.example'], name: 'a', token: 't', mappings });",
      "agent.on('ready', ({ epoch, endpoints }) => { const e: number = epoch; const n: number = endpoints.length; void [e, n]; });",
      '// @ts-expect-error there is no such event',
      "agent.on('raedy', () => {});",
    ];
    writeFileSync(join(dir, 'use.ts'), script.join('\n'));
    const compiler = fileURLToPath(new URL('../../../node_modules/typescript/bin/tsc', import.meta.url));
    const roots = fileURLToPath(new URL('../../../node_modules/@types', import.meta.url));
    const flags = ['--module', 'nodenext', '--target', 'es2024', '--strict', '--noEmit', '--types', 'node', '--typeRoots', roots];
    run(process.execPath, [compiler, ...flags, 'use.ts'], dir);
  });
});
