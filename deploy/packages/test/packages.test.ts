import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const PACKAGES = join(import.meta.dirname, '..');
const { version } = JSON.parse(readFileSync(join(PACKAGES, '../../package.json'), 'utf8')) as { version: string };
const SERVICES = ['admin', 'lease-manager', 'port-allocator', 'tcp-listener', 'ws-ingress'];

describe.skipIf(!existsSync('/usr/bin/dpkg-deb'))('a release', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-packages-'));
  const out = join(dir, 'release');
  /** All packages unpacked as on one machine. */
  const root = join(dir, 'root');
  const server = join(root, 'usr/lib/culvert/server');
  const node = join(root, 'usr/lib/culvert/node');
  const debs = (): string[] => readdirSync(out).filter((name) => name.endsWith('.deb'));
  /** Nothing of this repository's settings, and only the system's programs. */
  const run = (command: string, args: string[], env: Record<string, string> = {}) =>
    spawnSync(command, args, {
      encoding: 'utf8',
      timeout: 60_000,
      cwd: dir,
      env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...env },
    });

  beforeAll(async () => {
    // Not at once: a worker that stands still for a minute is given up by vitest.
    const runLong = promisify(execFile);
    const args = [join(PACKAGES, 'src/main.ts'), '--out', out, '--compress', 'none'];
    await runLong(process.execPath, args, { timeout: 280_000 });
    for (const deb of debs()) await runLong('dpkg-deb', ['-x', join(out, deb), root]);
  }, 300_000);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  it('has packages of one version whose files are root’s', () => {
    expect(debs().map((name) => name.split('_')[0])).toEqual(['culvert-agent', 'culvert-node', 'culvert-server', 'culvert']);
    for (const deb of debs()) {
      expect(run('dpkg-deb', ['-f', join(out, deb), 'Version']).stdout.trim()).toBe(version);
      const lines = run('dpkg-deb', ['-c', join(out, deb)])
        .stdout.trim()
        .split('\n');
      expect(lines.filter((line) => !line.includes(' root/root '))).toEqual([]);
      expect(lines.filter((line) => /^-..s|^-.{5}s|^.{8}w/.test(line) && !line.startsWith('l'))).toEqual([]);
    }
  });

  it('keeps what operators write, and shows secrets to root alone', () => {
    const conffiles = run('dpkg-deb', ['-I', join(out, `culvert-server_${version}_${architecture()}.deb`), 'conffiles']).stdout;
    expect(conffiles.trim().split('\n')).toEqual(['/etc/culvert/common.env', '/etc/culvert/edge.env']);
    const listed = run('dpkg-deb', ['-c', join(out, `culvert-server_${version}_${architecture()}.deb`)]).stdout;
    for (const name of ['common', 'edge']) expect(listed).toMatch(new RegExp(`^-rw------- .*/etc/culvert/${name}.env$`, 'm'));
  });

  it('brings every unit, and what each of them starts', () => {
    const units = readdirSync(join(root, 'lib/systemd/system'));
    expect(units).toEqual(readdirSync(join(PACKAGES, '../systemd')));
    for (const name of units) {
      const text = readFileSync(join(root, 'lib/systemd/system', name), 'utf8');
      const paths = [...text.matchAll(/(?<=[= ])\/usr\/(?:lib\/culvert|bin)\/[^ \n]+/g)].map(([path]) => path);
      expect(paths.length + Number(name === 'culvert-edge.service')).toBeGreaterThan(0);
      for (const path of paths) expect(existsSync(join(root, path)), `${path} of ${name}`).toBe(true);
    }
  });

  it('has services that load with nothing of the repository, and name what they need', () => {
    for (const service of SERVICES) {
      const { status, stderr } = run(node, [join(server, 'services', service, 'src/main.ts')]);
      expect(stderr).toContain('CULVERT_REDIS_URL is not set');
      expect(status, service).toBe(2);
    }
    expect(existsSync(join(server, 'services/admin/test'))).toBe(false);
    expect(existsSync(join(server, 'node_modules/vitest'))).toBe(false);
  }, 180_000);

  it('has an edge that is rendered out of its environment, with the files that systemd hands over', () => {
    const main = join(server, 'deploy/local/src/edge-main.ts');
    const credentials = mkdtempSync(join(dir, 'credentials-'));
    for (const name of ['chain.pem', 'key.pem']) writeFileSync(join(credentials, name), '');
    const env = {
      ...{ CULVERT_EDGE_PREFIX: join(dir, 'edge'), CULVERT_DOMAIN: 'culvert.example', CULVERT_TLS: 'files' },
      ...{
        CULVERT_REDIS_URL: 'redis://edge:word@127.0.0.1',
        CULVERT_EDGE_SECRET: 'jd83hfUE92hfa8sdj2',
        CREDENTIALS_DIRECTORY: credentials,
      },
    };
    expect(run(node, [main], env)).toMatchObject({ status: 0, stderr: '' });
    expect(readFileSync(join(dir, 'edge/nginx.conf'), 'utf8')).toContain('daemon off;');
    const wrong = run(node, [main], { ...env, CULVERT_DOMAIN: '', CULVERT_TLS: 'local' });
    expect(wrong.status).toBe(2);
    expect(wrong.stderr).toContain('CULVERT_DOMAIN is not set');
  }, 120_000);

  it('has both agents, ready to run', () => {
    expect(run(join(root, 'usr/bin/culvert-agent'), ['--version']).stdout).toContain(version);
    const launcher = join(root, 'usr/lib/culvert/agent/bin/culvert.mjs');
    expect(run(node, [launcher, '--version']).stdout.trim()).toBe(version);
    expect(readFileSync(join(root, 'usr/bin/culvert'), 'utf8')).toContain('/usr/lib/culvert/agent/bin/culvert.mjs');
  });

  it('is installed by its script, which picks the build of the machine and says what it is', () => {
    const to = join(dir, 'bin');
    const sums = createHash('sha256')
      .update(readFileSync(join(out, 'SHA256SUMS')))
      .digest('hex');
    const done = run('sh', [join(out, 'install.sh'), '--from', out, '--to', to, '--sums', sums]);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout).toContain(version);
    expect(readdirSync(to)).toEqual(['culvert-agent']);
    expect(run(join(to, 'culvert-agent'), ['--version']).stdout).toContain(version);
  });

  it('is refused by its script when anything of it is not what it should be', () => {
    const to = join(dir, 'untouched');
    const forged = join(dir, 'forged');
    cpSync(out, forged, { recursive: true, filter: (path) => !path.endsWith('.deb') });
    for (const name of readdirSync(forged).filter((file) => file.startsWith('culvert-agent-') && !file.endsWith('.service')))
      writeFileSync(join(forged, name), '#!/bin/sh\necho 0.1.0\n');
    const install = (args: string[], env: Record<string, string> = {}) =>
      run('sh', [join(out, 'install.sh'), '--to', to, ...args], env);
    expect(install(['--from', forged])).toMatchObject({ status: 1, stderr: expect.stringContaining('; expected ') });
    const sums = '0'.repeat(64);
    expect(install(['--from', out, '--sums', sums])).toMatchObject({ status: 1, stderr: expect.stringContaining('--sums') });
    for (const [machine, said] of [
      ['mipsel', 'the release has no culvert-agent-mipsel'],
      ['armv7l', 'the release has no culvert-agent-armhf'],
      ['armv6l', 'the release has no culvert-agent-armel'],
      ['pdp11', 'there is no build for pdp11'],
    ] as const) {
      const refused = install(['--from', out], { CULVERT_MACHINE: machine });
      expect(refused).toMatchObject({ status: 1, stderr: `${said}\n` });
    }
    expect(install(['--from', 'http://culvert.example/'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('https://'),
    });
    expect(existsSync(to)).toBe(false);
  });
});

const architecture = (): string => (process.arch === 'x64' ? 'amd64' : process.arch);
