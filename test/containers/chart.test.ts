import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CERT_MANAGER, CHART, EVERYTHING } from './chart.ts';
import { findHelm, findValidator } from './tools.ts';

const KUBERNETES = '1.34.0';
const helm = await findHelm();
const validator = await findValidator();
if (helm === undefined) console.log('NOT CHECKED: the chart, for there is neither helm nor a Go that compiles it');
if (validator === undefined) console.log("NOT CHECKED: the chart against Kubernetes' schemas, which could not be installed");

describe.skipIf(helm === undefined)('the chart', { timeout: 300_000 }, () => {
  const run = promisify(execFile);
  const dir = mkdtempSync(join(tmpdir(), 'culvert-chart-'));
  const options = { timeout: 250_000, maxBuffer: 64 << 20 };
  const render = async (settings: readonly string[] = []): Promise<string> => {
    const set = settings.flatMap((one) => ['--set', one]);
    const args = ['template', 'demo', CHART, '--namespace', 'tunnels', '--kube-version', KUBERNETES, ...set];
    return (await run(helm as string, args, options)).stdout;
  };
  let plain = '';
  let everything = '';
  beforeAll(async () => {
    plain = await render();
    everything = await render(EVERYTHING);
  }, 300_000);
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  const documents = (text: string): string[] => text.split(/^---$/m).filter((one) => /^kind:/m.test(one));
  const kinds = (text: string): string[] => documents(text).map((one) => /^kind: (\w+)/m.exec(one)?.[1] ?? '');
  const named = (text: string, kind: string, name: string): string =>
    documents(text).find((one) => one.includes(`kind: ${kind}\n`) && one.includes(`\n  name: ${name}\n`)) ?? '';

  it('passes the linter of helm', async () => {
    expect((await run(helm as string, ['lint', '--strict', CHART, '--kube-version', KUBERNETES], options)).stdout).toContain(
      '0 chart(s) failed',
    );
  });

  it.skipIf(validator === undefined)('is what Kubernetes’ schemas allow, with nothing that they do not know', async () => {
    for (const [name, text] of Object.entries({ plain, everything })) {
      const path = join(dir, `${name}.yaml`);
      writeFileSync(path, text);
      const args = ['-m', 'kubernetes_validate', '--kubernetes-version', KUBERNETES, '--strict', path];
      const { stdout, stderr } = await run('python3', args, { ...options, env: { ...process.env, ...validator } });
      const lines = `${stdout}${stderr}`.split('\n').filter((line) => line !== '');
      expect(lines.filter((line) => !line.includes(' passed for resource '))).toEqual([]);
      expect(lines).toHaveLength(documents(text).length);
    }
  });

  it('runs everything without rights, on a read-only file system', () => {
    for (const text of [plain, everything]) {
      const pods = documents(text).filter((one) => /^kind: (?:Deployment|StatefulSet)$/m.test(one));
      expect(pods.length).toBeGreaterThanOrEqual(6);
      for (const pod of pods) {
        for (const wanted of [
          'runAsNonRoot: true',
          'readOnlyRootFilesystem: true',
          'drop: [ALL]',
          'automountServiceAccountToken: false',
        ])
          expect(pod).toContain(wanted);
      }
    }
  });

  it('gives each part its own secret only, and listeners ports of their own', () => {
    for (const part of ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin', 'edge']) {
      const kind = part === 'tcp-listener' ? 'StatefulSet' : 'Deployment';
      const secrets = [...named(plain, kind, `demo-${part}`).matchAll(/secretName: (\S+?),/g)].map(([, name]) => name);
      expect(secrets.filter((name) => name !== 'culvert-tls')).toEqual([`demo-${part}`]);
      expect(named(plain, 'Secret', `demo-${part}`)).toMatch(
        new RegExp(`redis-url: "redis://${part}:\\w{43}@demo-redis.tunnels.svc.cluster.local:6379"`),
      );
    }
    expect(named(everything, 'Secret', 'demo-edge')).toContain('@10.0.0.1:26379,10.0.0.2:26379/culvert"');
    expect(named(everything, 'Service', 'demo-tcp-2')).toContain('port: 20200 }');
    expect(named(everything, 'Service', 'demo-tcp-2')).not.toContain('port: 20199 }');
    expect(named(everything, 'StatefulSet', 'demo-tcp-listener')).toContain("value: '20000-20299'");
  });

  it('gives each listener an address and a name of its own, or all one', async () => {
    for (const number of [0, 1, 2])
      expect(named(everything, 'Service', `demo-tcp-${number}`)).toContain(`loadBalancerIP: 192.0.2.${number + 1}\n`);
    expect(named(plain, 'Service', 'demo-tcp-1')).not.toContain('loadBalancerIP');
    for (const part of ['ws-ingress', 'admin'])
      expect(named(plain, 'Deployment', `demo-${part}`)).toContain(
        'CULVERT_PUBLIC_HOST, value: "{listener}.tcp.culvert.example"',
      );
    const annotated = 'tcpListener.service.annotations.hostname={listener}.tcp.culvert.example';
    const shared = await render(['publicHost=culvert.example', 'tcpListener.service.loadBalancerIP=192.0.2.9']);
    expect(named(await render([annotated.replace('{', '\\{').replace('}', '\\}')]), 'Service', 'demo-tcp-1')).toContain(
      '"demo-tcp-listener-1.tcp.culvert.example"',
    );
    expect(named(shared, 'Service', 'demo-tcp-1')).toContain('loadBalancerIP: 192.0.2.9\n');
    expect(named(shared, 'Deployment', 'demo-ws-ingress')).toContain('CULVERT_PUBLIC_HOST, value: "culvert.example"');
    const few = render(['tcpListener.service.addresses={192.0.2.1}']);
    await expect(few).rejects.toThrow('1 addresses for 2 listeners');
  });

  it('publishes listeners for transfers of devices where that is wanted, each by a name of its own and with TLS', async () => {
    const listener = (text: string): string => named(text, 'StatefulSet', 'demo-tcp-listener');
    const settingOf = (text: string, name: string): string | undefined =>
      new RegExp(`name: ${name}, value: ['"]?([^'"}]*)['"]? }`).exec(listener(text))?.[1];
    for (const name of ['CULVERT_TRANSFER_URL', 'CULVERT_TRANSFER_PORT', 'CULVERT_TLS_CERT_FILE', 'culvert-transfers-tls'])
      expect(listener(plain)).not.toContain(name);
    expect(named(plain, 'Service', 'demo-tcp-0')).not.toContain('published');
    expect(named(plain, 'NetworkPolicy', 'demo-tcp-listener')).not.toContain('published');

    expect(settingOf(everything, 'CULVERT_TRANSFER_URL')).toBe('wss://$(CULVERT_INSTANCE_ID).tcp.culvert.example:443');
    expect(settingOf(everything, 'CULVERT_TRANSFER_PORT')).toBe('8443');
    expect(listener(everything)).toContain('{ name: published, containerPort: 8443 }');
    expect(listener(everything)).toContain('secretName: culvert-transfers-tls, defaultMode: 0440');
    expect(listener(everything)).toContain('{ name: tls, mountPath: /tls, readOnly: true }');
    expect(settingOf(everything, 'CULVERT_TLS_CERT_FILE')).toBe('/tls/tls.crt');
    expect(settingOf(everything, 'CULVERT_TLS_KEY_FILE')).toBe('/tls/tls.key');
    for (const number of [0, 1, 2])
      expect(named(everything, 'Service', `demo-tcp-${number}`)).toContain(
        '{ name: transfers, port: 443, targetPort: published }',
      );
    expect(named(everything, 'NetworkPolicy', 'demo-tcp-listener')).toContain('{"port":"published"}');
    const listed = named(await render(CERT_MANAGER), 'Certificate', 'demo-transfers');
    for (const number of [0, 1]) expect(listed).toContain(`- "demo-tcp-listener-${number}.tcp.culvert.example"`);

    const on = 'tcpListener.transfers.enabled=true';
    const balanced = await render([on, 'tcpListener.transfers.tls.secret=', 'tcpListener.transfers.port=8444']);
    expect(settingOf(balanced, 'CULVERT_TRANSFER_URL')).toBe('wss://$(CULVERT_INSTANCE_ID).tcp.culvert.example:8444');
    expect(listener(balanced)).not.toContain('CULVERT_TLS_CERT_FILE');
    const single = await render([on, 'tcpListener.transfers.host=one.example', 'tcpListener.replicas=1']);
    expect(settingOf(single, 'CULVERT_TRANSFER_URL')).toBe('wss://one.example:443');
    for (const [setting, fault] of [
      ['tcpListener.transfers.host=one.example', 'one.example stands for 2 listeners; expected a name with {listener}'],
      ['tcpListener.transfers.port=20150', "tcpListener.transfers.port, 20150, is one of the listeners' own, 20000 to 20199"],
      ['tcpListener.firstPort=8400', "the port of transfers within the pod, 8443, is one of the listeners' own"],
      ['tcpListener.service.loadBalancerIP=192.0.2.9', 'expected tcpListener.service.addresses'],
    ])
      await expect(render([on, setting as string])).rejects.toThrow(fault);
  });

  it('scales, is drained one by one, and winds down in time', () => {
    expect(kinds(plain)).not.toContain('HorizontalPodAutoscaler');
    expect(kinds(everything).filter((kind) => kind === 'HorizontalPodAutoscaler')).toHaveLength(3);
    expect(named(everything, 'HorizontalPodAutoscaler', 'demo-ws-ingress')).toContain('culvert_control_connections');
    expect(kinds(plain).filter((kind) => kind === 'PodDisruptionBudget')).toHaveLength(6);
    expect(kinds(plain).filter((kind) => kind === 'NetworkPolicy').length).toBeGreaterThanOrEqual(8);
    expect(named(plain, 'Deployment', 'demo-ws-ingress')).toContain('terminationGracePeriodSeconds: 75');
    expect(named(plain, 'Deployment', 'demo-edge')).toContain('preStop');
  });

  it('asks cert-manager for the wildcard, and refuses ports that do not exist', async () => {
    expect(named(await render(CERT_MANAGER), 'Certificate', 'demo-edge')).toContain('"*.culvert.example"');
    await expect(render(['tcpListener.firstPort=65000', 'tcpListener.portsEach=1000'])).rejects.toThrow('expected 65535 at most');
  });
});
