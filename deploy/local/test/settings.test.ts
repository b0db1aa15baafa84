import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ConfigError } from '@culvert/service-kit';
import { describe, expect, it } from 'vitest';
import { loadSettings } from '../src/settings.ts';

const faultsOf = (env: Record<string, string>): readonly string[] => {
  try {
    loadSettings(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.faults;
    throw error;
  }
};

describe('the settings of a local stack', () => {
  it('have defaults', () => {
    expect(loadSettings({})).toMatchObject({
      port: 8080,
      domain: 'culvert.localhost',
      tcpPorts: [20_000, 20_999],
      stateDir: join(process.cwd(), '.culvert'),
      heartbeatMs: 30_000,
      demo: true,
      replicas: { 'ws-ingress': 1, 'tcp-listener': 1, 'lease-manager': 1, 'port-allocator': 1, admin: 1 },
      limits: { GRACE_MS: 3_600_000 },
    });
  });

  it('take what is given', () => {
    const settings = loadSettings({
      CULVERT_REPLICAS: 'ws-ingress=2, tcp-listener=3',
      CULVERT_GRACE: '90s',
      CULVERT_LIMIT_DIAL_MS: '3s',
      CULVERT_DEMO: '0',
      CULVERT_HEARTBEAT: '1s',
    });
    expect(settings.replicas).toMatchObject({ 'ws-ingress': 2, 'tcp-listener': 3, admin: 1 });
    expect(settings.limits).toMatchObject({ GRACE_MS: 90_000, DIAL_MS: 3_000 });
    expect(settings).toMatchObject({ demo: false, heartbeatMs: 1_000 });
  });

  it('report every fault at once, with name, value and what would be right', () => {
    const file = join(mkdtempSync(join(tmpdir(), 'culvert-')), 'file');
    writeFileSync(file, '');
    const bad = {
      CULVERT_PORT: '70000',
      CULVERT_DOMAIN: 'Not A Domain',
      CULVERT_TCP_PORTS: '3000-2000',
      CULVERT_STATE_DIR: file,
      CULVERT_GRACE: 'soon',
      CULVERT_HEARTBEAT: '10ms',
      CULVERT_DEMO: 'maybe',
      CULVERT_REPLICAS: 'ws-ingress=0',
      CULVERT_LIMIT_DIAL_MS: '-5',
      CULVERT_LIMIT_NO_SUCH: '1',
    };
    const faults = faultsOf(bad);
    for (const [name, value] of Object.entries(bad)) {
      const fault = faults.find((text) => text.startsWith(name));
      expect(fault, name).toMatch(/expected/);
      if (name !== 'CULVERT_LIMIT_NO_SUCH') expect(fault).toContain(JSON.stringify(value));
    }
    expect(faults).toHaveLength(Object.keys(bad).length);
    rmSync(join(file, '..'), { recursive: true });
  });

  it.each(['ws-ingress=17', 'ws-ingress', 'nobody=2', 'admin=1,admin=2', 'ws-ingress=2;admin=2'])(
    'refuse the replicas %s',
    (text) => {
      expect(faultsOf({ CULVERT_REPLICAS: text })).toEqual([expect.stringMatching(/CULVERT_REPLICAS=.*expected a list such as/)]);
    },
  );

  it('refuse an edge port within the public ports, and fewer public ports than listeners', () => {
    expect(faultsOf({ CULVERT_PORT: '20005' })).toEqual([expect.stringContaining('lies within CULVERT_TCP_PORTS=20000-20999')]);
    expect(faultsOf({ CULVERT_TCP_PORTS: '20000-20001', CULVERT_REPLICAS: 'tcp-listener=3' })).toEqual([
      expect.stringContaining('fewer ports than tcp-listeners'),
    ]);
  });

  it('refuse one published address for several listeners', () => {
    const published = { CULVERT_TRANSFER_URL: 'wss://localhost:8444', CULVERT_TRANSFER_PORT: '8444' };
    expect(faultsOf(published)).toEqual([]);
    expect(faultsOf({ ...published, CULVERT_REPLICAS: 'tcp-listener=2' })).toEqual([
      expect.stringMatching(/^CULVERT_TRANSFER_URL=wss:\/\/localhost:8444 is that of one listener; expected one tcp-listener/),
      expect.stringMatching(/^CULVERT_TRANSFER_PORT=8444 is that of one listener/),
    ]);
  });

  it('refuse an edge that remembers routes for longer than ports cool down', () => {
    expect(faultsOf({ CULVERT_LIMIT_COOL_DOWN_MS: '1m' })).toEqual([
      expect.stringContaining('CULVERT_LIMIT_COOL_DOWN_MS, which is 1m'),
    ]);
  });

  it('refuse limits that do not fit into each other', () => {
    expect(faultsOf({ CULVERT_LIMIT_ACQUIRE_MS: '1400', CULVERT_LIMIT_HANDSHAKE_MS: '1s' })).toEqual([
      'CULVERT_LIMIT_PROBE_MS is 2s; expected less than CULVERT_LIMIT_ACQUIRE_MS, which is 1400ms',
      'CULVERT_LIMIT_ACQUIRE_MS is 1400ms; expected less than CULVERT_LIMIT_HANDSHAKE_MS, which is 1s',
    ]);
  });

  it('end the stack with exit code 2 before anything is touched', () => {
    const stateDir = join(tmpdir(), `culvert-never-made-${process.pid}`);
    const run = spawnSync(process.execPath, [join(import.meta.dirname, '../src/main.ts')], {
      env: { PATH: process.env.PATH, CULVERT_STATE_DIR: stateDir, CULVERT_PORT: 'eighty', CULVERT_DEMO: 'perhaps' },
      encoding: 'utf8',
    });
    expect(run.status).toBe(2);
    expect(run.stderr).toContain('2 settings are wrong:');
    expect(run.stderr).toContain('CULVERT_PORT="eighty" is not valid; expected a whole number from 1 to 65535');
    expect(run.stderr).toContain('CULVERT_DEMO="perhaps" is not valid; expected 1 or 0');
  });
});
