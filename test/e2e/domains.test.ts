import { X509Certificate } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificate, makeAuthority } from '../../deploy/local/src/local-ca.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { startWebTarget, type Target } from '../harness/targets.ts';
import { curl, type Output, until } from './support.ts';

const HOST = 'shop.example.org';

let stack: Stack;
let web: Target;
let agent: RunningAgent;
let token: string;
let folder: string;
let authority: { ca: string; caKey: string };
let leaf: { certificate: string; key: string };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-domains-'));
  mkdirSync(join(folder, 'ca'));
  authority = { ca: join(folder, 'ca/ca.pem'), caKey: join(folder, 'ca/ca.key') };
  await makeAuthority('openssl', authority, 'example.org');
  leaf = await issue('first', [`DNS:${HOST}`]);
  stack = await startStack({ tls: true, env: { CULVERT_LIMIT_GRACE_MS: '3000', CULVERT_LIMIT_CERTIFICATE_LOOK_MS: '300' } });
  web = await startWebTarget();
  token = await stack.addDevice('till');
  await stack.addDevice('other');
  agent = await start();
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
  rmSync(folder, { recursive: true, force: true });
});

const start = (): Promise<RunningAgent> => stack.runAgent({ name: 'till', token, mappings: [`80=127.0.0.1:${web.port}`] });

async function issue(name: string, names: string[], days = 90): Promise<{ certificate: string; key: string }> {
  const made = { certificate: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) };
  await issueCertificate('openssl', authority, made, names, days);
  return made;
}

/** The same by the API: what it says. */
async function refusalOf(
  host: string,
  device: string,
  { certificate, key }: { certificate: string; key: string },
): Promise<string> {
  const pem = { certificate: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  const { status, body } = await stack.admin('PUT', `/v1/domains/${host}`, { device, port: 80, ...pem });
  expect([400, 404, 409]).toContain(status);
  return (body as { detail: string }).detail;
}

const add = (host: string, device: string, files: { certificate: string; key: string }): Promise<Output> =>
  stack.culvert('domain', 'add', host, '--device', device, '--cert', files.certificate, '--key', files.key);

/** Status and body of the page of a name; status 0 when the certificate is not one for it. */
async function open(host = HOST, ca = authority.ca): Promise<{ status: number; body: string }> {
  const { code, stdout } = await curl(stack.info.edge, host, '/', '--cacert', ca, '-w', '\n%{http_code}');
  const [, body = '', status] = /^([\s\S]*)\n(\d+)$/.exec(stdout) ?? [];
  return { status: code === 60 ? 0 : Number(status), body };
}

const shows = (what: string, wanted: number, deadlineMs = 15_000): Promise<string> =>
  until(
    what,
    async () => {
      const { status, body } = await open();
      return status === wanted ? body : undefined;
    },
    deadlineMs,
  );

/** Fingerprint of the certificate that the edge serves for the name now. */
async function served(): Promise<string> {
  const socket = tls.connect({
    port: Number(new URL(stack.info.edge).port),
    host: '127.0.0.1',
    servername: HOST,
    rejectUnauthorized: false,
  });
  await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  const found = socket.getPeerX509Certificate()?.fingerprint256 ?? '';
  socket.destroy();
  return found;
}

const fingerprintOf = ({ certificate }: { certificate: string }): string =>
  new X509Certificate(readFileSync(certificate)).fingerprint256;

describe("a domain of a device's own", () => {
  it('is served with its certificate as soon as it is added, and the device is asked by that name', async () => {
    expect((await open()).status).toBe(0);
    const { code, stdout, stderr } = await add(HOST, 'till', leaf);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^shop\.example\.org leads to port 80 of till, with a certificate until /);
    expect(await shows('it is served', 200)).toContain(`hello from ${HOST}`);
    expect((await stack.culvert('domain', 'list')).stdout).toMatch(/shop\.example\.org +till +80 +20/);
  });

  it('is refused with words that say why', async () => {
    const wrong = await issue('wrong', ['DNS:else.example.org']);
    const refusals: [string, string][] = [
      [await refusalOf(HOST, 'other', leaf), `${HOST} belongs to till`],
      [
        await refusalOf('a.example.org', 'till', wrong),
        'certificate is for DNS:else.example.org; expected DNS:a.example.org among',
      ],
      [await refusalOf(HOST, 'till', { ...leaf, key: wrong.key }), 'key does not belong to the first certificate of the chain'],
      [await refusalOf(HOST, 'till', { ...leaf, certificate: leaf.key }), 'expected a chain in PEM, leaf first'],
      [await refusalOf('x.culvert.localhost', 'till', leaf), 'is under culvert.localhost, where names are given out'],
      [await refusalOf('culvert.localhost', 'till', leaf), 'is the domain of this system'],
      [await refusalOf('10.0.0.1', 'till', leaf), 'is not valid; expected a DNS name'],
      [await refusalOf(HOST, 'nobody', leaf), 'there is no device named nobody'],
    ];
    for (const [said, words] of refusals) {
      expect(said).toContain(words);
      expect(said).not.toContain('PRIVATE');
    }
    const { code, stderr } = await add('a.example.org', 'till', wrong);
    expect(stderr).toContain('certificate is for DNS:else.example.org');
    expect(code).toBe(1);
    const viewer = (await stack.admin('POST', '/v1/operators', { name: 'ann', role: 'viewer' })).body as { token: string };
    const asked = await curl(
      stack.info.admin,
      'localhost',
      `/v1/domains/${HOST}`,
      ...[
        '--cacert',
        stack.info.ca as string,
        '-X',
        'DELETE',
        '-H',
        `Authorization: Bearer ${viewer.token}`,
        '-w',
        '%{http_code}',
      ],
    );
    expect(asked.stdout).toMatch(/403$/);
  });

  it('has its certificate renewed without a reload', async () => {
    const nginx = stack.info.nginx.pid;
    const renewed = await issue('renewed', [`DNS:${HOST}`]);
    expect((await add(HOST, 'till', renewed)).code).toBe(0);
    await until('the new one is served', async () => ((await served()) === fingerprintOf(renewed) ? true : undefined));
    expect(stack.info.nginx.pid).toBe(nginx);
    leaf = renewed;
  });

  it('is told of before its certificate runs out: in the list, by a metric and in the log', async () => {
    const soon = await issue('soon', [`DNS:${HOST}`], 2);
    expect((await add(HOST, 'till', soon)).code).toBe(0);
    leaf = soon;
    expect((await stack.culvert('domain', 'list')).stdout).toMatch(/shop\.example\.org +till +80 +20.* \(expiring\)/);
    const { health } = stack.info.services.find(({ name }) => name === 'admin') as { health: string };
    const counted = async (): Promise<string> => (await fetch(health.replace('/healthz', '/metrics'))).text();
    await until('it is counted', async () =>
      /^culvert_domain_certificates\{[^}]*state="expiring"[^}]*\} 1$/m.test(await counted()) ? true : undefined,
    );
    const log = readFileSync(join(stack.stateDir, 'logs/admin-1.log'), 'utf8');
    expect(log.match(/"certificate\.expiring"/g)).toHaveLength(1);
  });

  it('shows the offline page in grace and after it, and leads to the device again, whatever name that has then', async () => {
    const former = agent.endpoint(80).url;
    await agent.stop();
    expect(await shows('it is offline', 503)).toContain('Offline since');
    const { pathname } = new URL(former as string);
    const name = new URL(former as string).hostname;
    await until('the lease is over', async () => ((await stack.fetchHost(name, pathname)).status === 404 ? true : undefined));
    expect((await open()).status).toBe(503);
    agent = await start();
    expect(agent.endpoint(80).url).not.toBe(former);
    expect(await shows('it is back', 200)).toContain(`hello from ${HOST}`);
  });

  it('is closed and opened with the endpoint that it leads to', async () => {
    expect((await stack.culvert('device', 'access', 'till:80', 'private')).stdout).toBe('private\n');
    await shows('it is closed', 403);
    expect((await stack.culvert('device', 'access', 'till')).stdout).toBe('public (by default)\n');
    expect((await stack.culvert('device', 'access', 'till:80', 'default')).stdout).toBe('public (by default)\n');
    await shows('it is open', 200);
  });

  it('is never told with its key, which only the edge and lease-manager may read', async () => {
    const { body } = await stack.admin('GET', `/v1/domains/${HOST}`);
    const audit = (await stack.admin('GET', '/v1/audit?limit=100')).body;
    expect(JSON.stringify([body, audit])).not.toContain('PRIVATE KEY');
    expect(JSON.stringify(audit)).toContain('domain.put');
    const { secrets } = JSON.parse(readFileSync(join(stack.stateDir, 'memory.json'), 'utf8')) as {
      secrets: Record<string, string>;
    };
    for (const user of ['ws-ingress', 'tcp-listener', 'port-allocator', 'admin']) {
      const url = new URL(stack.info.redis.address);
      const redis = new Redis(`redis://${user}:${secrets[`redis.${user}`]}@${url.host}`);
      await expect(redis.hgetall(`kept:domain:${HOST}`)).rejects.toThrow(/NOPERM/);
      redis.disconnect();
    }
  });

  it('is there with its certificate after the loss of the store', async () => {
    const redis = new Redis(stack.info.redis.address);
    await redis.flushall();
    redis.disconnect();
    await until(
      'the store is restored',
      async () => ((await stack.admin('GET', '/v1/domains')).status === 200 ? true : undefined),
      45_000,
    );
    expect(await shows('it is served again', 200, 45_000)).toContain(`hello from ${HOST}`);
    expect(await served()).toBe(fingerprintOf(leaf));
  });

  it('is gone when it is removed, and with its device', async () => {
    expect((await stack.culvert('domain', 'remove', HOST)).stdout).toBe(`${HOST} is removed.\n`);
    await until('its certificate is gone', async () => ((await served()) !== fingerprintOf(leaf) ? true : undefined));
    await stack.culvert('device', 'revoke', 'till');
    expect((await stack.culvert('domain', 'list')).stdout).toContain('no domains');
  });
});
