import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

/** Many processes at once on a machine that may be busy. */
const PATIENCE_MS = 120_000;
const ROOT = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'culvert-production-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What an example or a hurried operator would write. */
const DEFAULTS = {
  CULVERT_DOMAIN: 'example.com',
  CULVERT_TCP_PORTS: '20000-20099',
  CULVERT_EDGE_PREFIX: join(folder, 'edge'),
  CULVERT_REDIS_URL: 'redis://lease-manager:change-me@127.0.0.1:1',
  CULVERT_NATS_URL: 'nats://127.0.0.1:1',
  CULVERT_EDGE_SECRET: 'example-secret-for-the-edge',
  CULVERT_ADMIN_TOKEN: 'culvert-admin-token-example',
  CULVERT_LISTEN_HOST: '0.0.0.0',
};
/** Starts it as its unit would; one that begins to work instead of refusing is ended in the end. */
function start(main: string, env: Record<string, string>): Promise<{ code: number | null; said: string }> {
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [join(ROOT, main)],
      {
        env: { PATH: process.env.PATH, CULVERT_INSTANCE_ID: `${main.split('/')[1]}-1`, ...DEFAULTS, ...env },
        timeout: PATIENCE_MS,
        killSignal: 'SIGKILL',
      },
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : ((error.code as unknown as number) ?? null), said: stdout + stderr }),
    );
  });
}

/** Beside CULVERT_REDIS_URL. */
const WANTED: Record<string, string[]> = {
  'lease-manager': ['CULVERT_NATS_URL'],
  'port-allocator': ['CULVERT_NATS_URL'],
  'tcp-listener': ['CULVERT_NATS_URL', 'CULVERT_EDGE_SECRET', 'CULVERT_LISTEN_HOST'],
  'ws-ingress': ['CULVERT_NATS_URL', 'CULVERT_LISTEN_HOST'],
  admin: ['CULVERT_NATS_URL', 'CULVERT_ADMIN_TOKEN', 'CULVERT_LISTEN_HOST'],
};

it(
  'in production every service, and the edge, refuses to start with the secrets of an example, and says what is wrong',
  async () => {
    expect(readdirSync(join(ROOT, 'services')).sort()).toEqual(Object.keys(WANTED).sort());
    const cases = Object.entries(WANTED).map(([name, settings]) => [`services/${name}/src/main.ts`, settings] as const);
    const starts = [...cases, ['deploy/local/src/edge-main.ts', ['CULVERT_EDGE_SECRET']] as const].map(
      async ([main, settings], index) => {
        const production = index % 2 === 0 ? { CULVERT_PRODUCTION: '1' } : { NODE_ENV: 'production' };
        const { code, said } = await start(main, production);
        expect([main, code, said]).toEqual([
          main,
          2,
          expect.stringMatching(/CULVERT_REDIS_URL has a password that is 9 characters/),
        ]);
        for (const setting of settings) expect([main, said]).toEqual([main, expect.stringContaining(`${setting} `)]);
        for (const secret of ['change-me', 'example-secret', 'token-example']) expect(said).not.toContain(secret);
      },
    );
    await Promise.all(starts);
  },
  2 * PATIENCE_MS,
);
