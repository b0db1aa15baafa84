import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram } from '../../deploy/local/bin/system.mjs';
import { ApiServer } from './api-server.ts';
import { CERT_MANAGER, CHART, EVERYTHING } from './chart.ts';
import { findApiServer, findHelm } from './tools.ts';

const helm = await findHelm();
const apiserver = await findApiServer();
const etcd = findProgram('etcd');
const there = helm !== undefined && apiserver !== undefined && etcd !== undefined;
if (!there)
  console.log('NOT CHECKED: the chart against an API server of Kubernetes, for helm, etcd or a Go that compiles it are not here');

interface Stored {
  metadata: { name: string };
  data?: Record<string, string>;
  spec?: {
    template?: { spec: { volumes?: object[] }; metadata?: object };
    volumeClaimTemplates?: { metadata: { name: string } }[];
    replicas?: number;
  };
}

/** An API server without anything that would run pods: what is tested is that it admits and keeps all objects as they are. */
describe.skipIf(!there)('the chart in a cluster', { timeout: 300_000 }, () => {
  const namespace = 'tunnels';
  let server: ApiServer;
  const run = promisify(execFile);
  const call = (...args: string[]): Promise<{ stdout: string; stderr: string }> =>
    run(helm as string, [...args, '--namespace', namespace, '--kubeconfig', server.kubeconfig], {
      timeout: 120_000,
      maxBuffer: 64 << 20,
      env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    });
  const set = (settings: readonly string[]): string[] => settings.flatMap((one) => ['--set', one]);
  const secrets = async (): Promise<Map<string, Record<string, string>>> => {
    const all = await server.list<Stored>(`/api/v1/namespaces/${namespace}/secrets`);
    return new Map(
      all.filter(({ metadata }) => !metadata.name.startsWith('sh.helm')).map(({ metadata, data = {} }) => [metadata.name, data]),
    );
  };
  /** All pods that the chart would have made. */
  const templates = async (): Promise<{ name: string; spec: object; metadata: object }[]> => {
    const kinds = await Promise.all(
      ['deployments', 'statefulsets'].map((kind) => server.list<Stored>(`/apis/apps/v1/namespaces/${namespace}/${kind}`)),
    );
    return kinds.flat().map(({ metadata, spec: { template, volumeClaimTemplates = [] } = {} }) => {
      const { volumes = [], ...spec } = template?.spec ?? {};
      // As the controller of StatefulSets adds them.
      const claimed = volumeClaimTemplates.map(({ metadata: { name } }) => ({
        name,
        persistentVolumeClaim: { claimName: name },
      }));
      return { name: metadata.name, spec: { ...spec, volumes: [...volumes, ...claimed] }, metadata: template?.metadata ?? {} };
    });
  };

  beforeAll(async () => {
    server = await ApiServer.start(apiserver as string, etcd as string);
    // Pods beyond the strictest profile are refused, and so is a word about them in whatever makes pods.
    const labels = Object.fromEntries(['enforce', 'warn'].map((mode) => [`pod-security.kubernetes.io/${mode}`, 'restricted']));
    const made = await server.ask('POST', '/api/v1/namespaces', { metadata: { name: namespace, labels } });
    expect(made.status).toBe(201);
  }, 180_000);
  afterAll(() => server?.stop());

  it('is admitted whole by a dry run of the server, with defaults and with everything on', async () => {
    for (const settings of [[], EVERYTHING]) {
      const { stdout, stderr } = await call('install', 'demo', CHART, '--dry-run=server', ...set(settings));
      expect(stderr).toBe('');
      expect(stdout).toContain('kind: StatefulSet');
    }
    await expect(call('install', 'demo', CHART, '--dry-run=server', ...set(CERT_MANAGER))).rejects.toThrow(
      'no matches for kind "Certificate"',
    );
  });

  it('is installed, without a warning, and its pods keep to the profile restricted', async () => {
    const { stdout, stderr } = await call('install', 'demo', CHART);
    expect(stderr).toBe('');
    expect(stdout).toContain('STATUS: deployed');
    const pods = await templates();
    expect(pods.length).toBeGreaterThanOrEqual(8);
    const privileged = { name: 'x', image: 'x', securityContext: { privileged: true } };
    const refused = { metadata: { name: 'x' }, spec: { containers: [privileged] } };
    expect((await server.ask('POST', `/api/v1/namespaces/${namespace}/pods?dryRun=All`, refused)).status).toBe(403);
    for (const { name, spec, metadata } of pods) {
      const account = await server.ask('POST', `/api/v1/namespaces/${namespace}/serviceaccounts`, {
        metadata: { name: 'default' },
      });
      expect([201, 409]).toContain(account.status);
      const pod = { metadata: { ...metadata, name }, spec };
      const path = `/api/v1/namespaces/${namespace}/pods?dryRun=All&fieldValidation=Strict`;
      const answer = await server.ask('POST', path, pod);
      expect({ name, ...answer }).toMatchObject({ name, status: 201, warnings: [] });
    }
  });

  it('keeps its secrets over an upgrade that turns everything on, and is uninstalled', async () => {
    const before = await secrets();
    expect(before.size).toBeGreaterThanOrEqual(8);
    const { stderr } = await call('upgrade', 'demo', CHART, ...set(EVERYTHING));
    expect(stderr).toBe('');
    const after = await secrets();
    const token = (all: typeof before): string | undefined => all.get('demo-admin')?.['admin-token'];
    expect(token(after)).toBe(token(before));
    expect(token(after)).toMatch(/^[A-Za-z0-9+/=]{20,}$/);
    for (const part of ['edge', 'tcp-listener'])
      expect(after.get(`demo-${part}`)?.['edge-secret']).toBe(before.get(`demo-${part}`)?.['edge-secret']);
    const listeners = await server.list<Stored>(`/apis/apps/v1/namespaces/${namespace}/statefulsets`);
    expect(listeners.find(({ metadata }) => metadata.name === 'demo-tcp-listener')?.spec?.replicas).toBe(3);
    await call('rollback', 'demo', '1');
    expect(token(await secrets())).toBe(token(before));
    await call('uninstall', 'demo');
    expect(await templates()).toEqual([]);
  });
});
