import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BASES, step } from './bases.ts';

const ROOT = join(import.meta.dirname, '../..');

export const TARGETS = [
  ...['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin', 'edge', 'set-up', 'agent', 'agent-native'],
] as const;

/** Builds all images under the names that deploy/compose has for them, without a network. */
export async function buildImages(host: string): Promise<void> {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const revision = execFileSync('git', ['rev-parse', 'HEAD'], { cwd: ROOT, encoding: 'utf8' }).trim();
  const args = Object.entries({ ...BASES, EDGE_TARGET: 'debian', VERSION: version, REVISION: revision });
  for (const target of TARGETS) {
    await step(
      'docker',
      [
        ...[
          'build',
          '-q',
          '--network',
          'none',
          '-f',
          'deploy/images/Dockerfile',
          '--target',
          target,
          '-t',
          `culvert/${target}:${version}`,
        ],
        ...args.flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
        '.',
      ],
      { env: { DOCKER_HOST: host, DOCKER_BUILDKIT: '0' } },
    );
  }
}
