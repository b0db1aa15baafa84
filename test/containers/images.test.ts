import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { engineAnswers } from '../harness/containers.ts';
import { TARGETS } from './images.ts';

const { version } = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')) as { version: string };
const SERVICES = ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin'];
const run = promisify(execFile);
const docker = async (...args: string[]): Promise<string> =>
  (await run('docker', args, { timeout: 180_000, maxBuffer: 64 << 20 })).stdout;
const engine = await engineAnswers();
if (!engine) console.log('NOT CHECKED: the images, for no Docker engine answers at DOCKER_HOST');

interface Image {
  Config: { User: string; Labels: Record<string, string>; Healthcheck?: { Test: string[] }; StopSignal?: string };
}

describe.skipIf(!engine)('the images', { timeout: 600_000 }, () => {
  const inspect = async (target: string): Promise<Image> =>
    (JSON.parse(await docker('image', 'inspect', `culvert/${target}:${version}`)) as Image[])[0] as Image;

  it('name what they are, and run as users without rights but for set-up', async () => {
    for (const target of TARGETS) {
      const { Config } = await inspect(target);
      expect(Config.Labels['org.opencontainers.image.title']).toBe(`culvert ${target}`);
      if (target !== 'set-up') expect(Config.User, target).toMatch(/^100\d\d:100\d\d$/);
    }
  });

  it('say how services are asked whether they are well, and how they are stopped', async () => {
    for (const target of [...SERVICES, 'edge']) {
      const { Config } = await inspect(target);
      expect(Config.Healthcheck?.Test.at(-1)).toBe(target === 'edge' ? '/healthz' : '/readyz');
      expect(Config.StopSignal).toBe(target === 'edge' ? 'SIGQUIT' : 'SIGTERM');
    }
  });

  it('list what is in them, and bring nothing of other parts or of tests', async () => {
    for (const target of ['ws-ingress', 'admin', 'agent']) {
      const print = "console.log(require('fs').readFileSync('/app/sbom.cdx.json', 'utf8'))";
      const image = `culvert/${target}:${version}`;
      const args = ['run', '--rm', '--read-only', '--network', 'none', '--entrypoint', '/usr/local/bin/node', image, '-e', print];
      const { bomFormat, components } = JSON.parse(await docker(...args)) as {
        bomFormat: string;
        components: { name: string }[];
      };
      const names = components.map(({ name }) => name);
      expect(bomFormat).toBe('CycloneDX');
      expect(names).toContain(target === 'agent' ? 'commander' : 'ioredis');
      expect(names).not.toContain('vitest');
      expect(names.includes('fastify')).toBe(target === 'admin');
    }
  });

  it('refuse to start with wrong settings, and name all of them', async () => {
    const args = [
      'run',
      '--rm',
      '--read-only',
      '--network',
      'none',
      '-e',
      'CULVERT_NATS_URL_FILE=/secrets/none',
      `culvert/ws-ingress:${version}`,
    ];
    const { code, stderr } = await run('docker', args, { timeout: 180_000 }).then(
      () => ({ code: 0, stderr: '' }),
      (error: { code: number; stderr: string }) => error,
    );
    expect(code).toBe(2);
    expect(stderr).toContain('CULVERT_REDIS_URL is not set');
    expect(stderr).toContain('CULVERT_NATS_URL_FILE="/secrets/none" cannot be read');
  });

  it('have both agents, which say which version they are', async () => {
    for (const target of ['agent', 'agent-native']) {
      const said = await docker('run', '--rm', '--read-only', '--network', 'none', `culvert/${target}:${version}`, '--version');
      expect(said).toContain(version);
    }
  });
});
