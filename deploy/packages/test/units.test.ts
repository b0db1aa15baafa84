import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LIMITS } from '@culvert/contracts';
import { afterAll, describe, expect, it } from 'vitest';
import { NODE_FLAGS } from '../../local/src/node-flags.ts';
import { SERVICES } from '../../local/src/replicas.ts';

const UNITS = join(import.meta.dirname, '../../systemd');
const names = readdirSync(UNITS);
const SYSTEMS = '/lib/systemd/system';
/** systemd's own measure: 0 is locked in, 10 may do everything; a service without any setting has 9.6. */
const MOST_EXPOSED = '20';

describe('the systemd units', () => {
  const root = mkdtempSync(join(tmpdir(), 'culvert-units-'));
  afterAll(() => rmSync(root, { recursive: true }));

  /** A root folder with systemd's targets, our units, and something at each path that a unit starts. */
  const prepare = (): void => {
    const write = (path: string, text: string): void => {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
      if (path.startsWith('usr/')) chmodSync(join(root, path), 0o755);
    };
    for (const program of ['usr/lib/culvert/node', 'usr/bin/culvert-agent', 'usr/sbin/nginx', 'usr/bin/kill'])
      write(program, '#!/bin/sh\n');
    for (const name of readdirSync(SYSTEMS).filter((file) => file.endsWith('.target')))
      write(`lib/systemd/system/${name}`, readFileSync(join(SYSTEMS, name), 'utf8'));
    cpSync(UNITS, join(root, 'etc/systemd/system'), { recursive: true });
  };
  const analyze = (args: string[]) =>
    spawnSync('systemd-analyze', [...args, `--root=${root}`], { encoding: 'utf8', timeout: 60_000 });
  const instance = (name: string): string => name.replace('@.', '@a1.');
  const there = existsSync('/usr/bin/systemd-analyze') && existsSync(SYSTEMS);

  it.skipIf(!there)('are understood by systemd to the last setting, and leave a service little that it could harm', () => {
    prepare();
    for (const name of names) {
      expect(analyze(['verify', '--man=no', instance(name)]), name).toMatchObject({ status: 0, stderr: '', stdout: '' });
      const { status, stdout } = analyze(['security', '--offline=true', `--threshold=${MOST_EXPOSED}`, instance(name)]);
      expect(status, `${name}: ${stdout.trim().split('\n').at(-1)}`).toBe(0);
    }
    const broken = join(root, 'etc/systemd/system/culvert-broken.service');
    writeFileSync(broken, readFileSync(join(UNITS, 'culvert-agent.service'), 'utf8').replace('PrivateTmp=', 'PrivatTmp='));
    expect(analyze(['verify', '--man=no', 'culvert-broken.service']).stderr).toContain('PrivatTmp');
  });

  it('start each service with the flags that it needs', () => {
    for (const service of SERVICES) {
      const name = names.find((file) => file.startsWith(`culvert-${service}`)) ?? '';
      const words = [
        '/usr/lib/culvert/node',
        ...(NODE_FLAGS[service] ?? []),
        `/usr/lib/culvert/server/services/${service}/src/main.ts`,
      ];
      expect(readFileSync(join(UNITS, name), 'utf8')).toContain(`\nExecStart=${words.join(' ')}\n`);
    }
  });

  it('give services that wind down the time that their limits say', () => {
    const needed = (LIMITS.WIND_DOWN_MS.default + LIMITS.STOP_MS.default) / 1000;
    for (const name of ['culvert-ws-ingress@.service', 'culvert-tcp-listener@.service', 'culvert-edge.service']) {
      const given = /^TimeoutStopSec=([0-9]+)$/m.exec(readFileSync(join(UNITS, name), 'utf8'))?.[1];
      expect(Number(given), name).toBeGreaterThan(needed);
    }
  });
});

it('the init script for OpenWrt is one that a shell understands', () => {
  const script = join(import.meta.dirname, '../../openwrt/culvert-agent.init');
  expect(spawnSync('sh', ['-n', script], { encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
});
