import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** What npm publishes must work where nothing of this repository is, but the packages that it asks for. */
describe('the published package', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-events-'));
  const run = (args: string[], cwd = dir): string =>
    execFileSync(process.execPath, args, {
      cwd,
      encoding: 'utf8',
      env: { PATH: `${dirname(process.execPath)}:${process.env.PATH}` },
    });

  beforeAll(async () => {
    const modules = join(dir, 'node_modules');
    await mkdir(join(modules, '@culvert'), { recursive: true });
    run(['build.ts', join(modules, '@culvert/events')], here('..'));
    for (const name of ['@nats-io', 'typebox']) symlinkSync(here(`../../../node_modules/${name}`), join(modules, name));
    writeFileSync(join(dir, 'package.json'), '{"type": "module"}');
  }, 60_000);
  afterAll(() => rmSync(dir, { recursive: true }));

  it('can be imported, and asks for nothing of this repository', () => {
    writeFileSync(
      join(dir, 'use.js'),
      "import { EVENT_TYPES } from '@culvert/events'; console.log(EVENT_TYPES.includes('lease.grace'))",
    );
    expect(run(['use.js']).trim()).toBe('true');
    const manifest = readFileSync(join(dir, 'node_modules/@culvert/events/package.json'), 'utf8');
    expect(
      Object.keys((JSON.parse(manifest) as { dependencies: object }).dependencies).filter((name) => /culvert/.test(name)),
    ).toEqual([]);
  });

  it('brings declarations that tell the events apart, and the schemas', () => {
    const script = [
      "import { connectEvents } from '@culvert/events';",
      "const events = await connectEvents('nats://127.0.0.1:1');",
      'for await (const event of events.consume({ durable: "a" })) {',
      "  if (event.type === 'lease.grace') { const due: number = event.data.due; void due; }",
      '  // @ts-expect-error not every event has it',
      '  void event.data.due;',
      '}',
    ];
    writeFileSync(join(dir, 'use.ts'), script.join('\n'));
    const roots = here('../../../node_modules/@types');
    const flags = ['--module', 'nodenext', '--target', 'es2024', '--strict', '--noEmit', '--skipLibCheck', '--types', 'node'];
    run([here('../../../node_modules/typescript/bin/tsc'), ...flags, '--typeRoots', roots, 'use.ts']);
    expect(readdirSync(join(dir, 'node_modules/@culvert/events/schemas'))).toContain('asyncapi.json');
  });
});
