import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ensureLocalTls, issueCertificate, makeAuthority } from '../../deploy/local/src/local-ca.ts';
import { ask, DOMAIN, freePort, Origin, TestEdge, TestRedis, until } from './support.ts';

let folder: string;
let redis: TestRedis;
let edge: TestEdge;
let origin: Origin;
let port: number;
let ca: string;
/** An authority for names outside of the domain. */
let other: { ca: string; caKey: string };

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-edge-tls-'));
  const local = await ensureLocalTls('openssl', join(folder, 'local'), DOMAIN);
  ca = readFileSync(local.ca, 'utf8');
  mkdirSync(join(folder, 'other'));
  other = { ca: join(folder, 'other/ca.pem'), caKey: join(folder, 'other/ca.key') };
  await makeAuthority('openssl', other, 'example.org');
  redis = await TestRedis.start();
  port = await freePort();
  const served = { port, certificate: local.certificate, key: local.key, hstsMs: 86_400_000 };
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1, { tls: served });
  origin = await Origin.start((req, res) => res.end(JSON.stringify({ url: req.url, method: req.method, headers: req.headers })));
  await fill();
});

async function fill(): Promise<void> {
  await redis.route('page', { address: origin.address });
  await redis.instance('ws-ingress-1', 'ws-ingress', origin.address);
  await redis.instance('tcp-listener-1', 'tcp-listener', origin.address);
}

afterAll(async () => {
  await edge?.stop();
  await origin?.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A handshake that settles when it is over; the caller ends the socket. */
async function handshake(servername: string, options: tls.ConnectionOptions = {}): Promise<tls.TLSSocket> {
  const socket = tls.connect({ port, host: '127.0.0.1', servername, ca, ...options });
  await once(socket, 'secureConnect');
  return socket;
}

/** The subject alternative names of the certificate that a name gets, verified or not. */
async function namesOf(servername: string): Promise<string> {
  const socket = await handshake(servername, { rejectUnauthorized: false });
  const names = socket.getPeerX509Certificate()?.subjectAltName ?? '';
  socket.destroy();
  return names;
}

async function askTls(
  host: string,
  path: string,
  trusted = ca,
): Promise<{ status: number; headers: Record<string, unknown>; body: string }> {
  const options = { host: '127.0.0.1', port, path, servername: host, headers: { host }, ca: trusted, agent: false as const };
  const req = request(options).end();
  const [res] = await once(req, 'response');
  let body = '';
  for await (const chunk of res.setEncoding('utf8')) body += chunk;
  return { status: res.statusCode, headers: res.headers, body };
}

/** Keeps a certificate of the domain as operators do, and says so. */
async function keep(name: string, certificate: string, key: string): Promise<void> {
  const fields = { chain: readFileSync(certificate, 'utf8'), key: readFileSync(key, 'utf8') };
  await redis.client.multi().hset(`cert:${name}`, fields).publish('route.changed', name).exec();
}

/** Keeps a domain of a device as lease-manager does. */
async function keepDomain(host: string, value: object): Promise<void> {
  await redis.client
    .multi()
    .hset(`kept:domain:${host}`, { value: JSON.stringify(value), revision: 1 })
    .publish('route.changed', `domain ${host}`)
    .exec();
}

describe('a visitor by TLS', () => {
  it('reaches the device, which is told so, and gets the certificate of the domain verified', async () => {
    const answer = await askTls(`page.${DOMAIN}`, '/a?b');
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body)).toMatchObject({ url: '/a?b', headers: { 'x-forwarded-proto': 'https' } });
    expect(answer.headers['strict-transport-security']).toBe('max-age=86400');
  });

  it('may speak HTTP/2, with several requests on one connection', async () => {
    const client = connectHttp2(`https://page.${DOMAIN}:${port}`, {
      ca,
      createConnection: () => tls.connect({ port, host: '127.0.0.1', servername: `page.${DOMAIN}`, ca, ALPNProtocols: ['h2'] }),
    });
    const get = async (path: string, body?: string): Promise<string> => {
      const method = body === undefined ? 'GET' : 'POST';
      const stream = client.request({ ':path': path, ':method': method }, { endStream: body === undefined });
      if (body !== undefined) stream.end(body);
      let text = '';
      for await (const chunk of stream.setEncoding('utf8')) text += chunk;
      return text;
    };
    const [one, two] = await Promise.all([get('/one'), get('/two', 'a body without a length')]);
    client.close();
    expect(JSON.parse(one)).toMatchObject({ url: '/one', headers: { host: `page.${DOMAIN}:${port}` } });
    expect(JSON.parse(two)).toMatchObject({ url: '/two', method: 'POST' });
  });

  it.each([
    ['TLSv1.2', 'TLSv1.2'],
    ['TLSv1.3', 'TLSv1.3'],
  ] as const)('may speak %s, with forward secrecy, and resumes its session', async (version, shown) => {
    const options = { minVersion: version, maxVersion: version };
    const first = await handshake(`page.${DOMAIN}`, options);
    expect(first.getProtocol()).toBe(shown);
    expect(first.getEphemeralKeyInfo()).toMatchObject({ type: 'ECDH' });
    const session = once(first, 'session');
    first.write(`GET / HTTP/1.1\r\nHost: page.${DOMAIN}\r\n\r\n`);
    const [ticket] = version === 'TLSv1.3' ? await session : [first.getSession()];
    first.destroy();
    const again = await handshake(`page.${DOMAIN}`, { ...options, session: ticket });
    expect(again.isSessionReused()).toBe(true);
    again.destroy();
  });

  it('may speak neither TLS 1.1 nor a cipher without forward secrecy', async () => {
    const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const;
    await expect(handshake(`page.${DOMAIN}`, old)).rejects.toThrow();
    const static_ = { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256:AES256-SHA:DHE-RSA-AES128-SHA' } as const;
    await expect(handshake(`page.${DOMAIN}`, static_)).rejects.toThrow();
  });
});

describe('the certificate', () => {
  it('is the one of the files without a name and for names that nobody knows', async () => {
    expect(await namesOf('nobody.example.net')).toContain(`DNS:*.${DOMAIN}`);
    expect(await namesOf('')).toContain(`DNS:*.${DOMAIN}`);
    expect(await namesOf('a_b')).toContain(`DNS:*.${DOMAIN}`);
  });

  it("of a device's own domain comes from the store as soon as it is there, and goes as soon as it is withdrawn", async () => {
    const leaf = { certificate: join(folder, 'own.pem'), key: join(folder, 'own.key') };
    await issueCertificate('openssl', other, leaf, ['DNS:shop.example.org']);
    expect(await namesOf('shop.example.org')).toContain(DOMAIN);
    const certificate = { chain: readFileSync(leaf.certificate, 'utf8'), key: readFileSync(leaf.key, 'utf8') };
    await keepDomain('shop.example.org', { device: 'shop', port: 80, certificate });
    await until('it is served', async () => (await namesOf('SHOP.example.org')) === 'DNS:shop.example.org');
    const ask = () => askTls('shop.example.org', '/', readFileSync(other.ca, 'utf8'));
    expect((await ask()).status).toBe(503); // the device has no name at present
    const names = { host: `page.${DOMAIN}`, port: 80, public_port: 1, scheme: 'http' };
    await redis.client
      .multi()
      .hset('lease:shop', 'endpoints', JSON.stringify([names]))
      .publish('route.changed', 'lease shop')
      .exec();
    await until('it leads to the device', async () => (await ask()).status === 200);
    await redis.client.multi().del('kept:domain:shop.example.org').publish('route.changed', 'domain shop.example.org').exec();
    await until('it is withdrawn', async () => (await namesOf('shop.example.org')).includes(DOMAIN));
  });

  it('of the domain is renewed through the store, without a reload and with Redis away afterwards', async () => {
    const leaf = { certificate: join(folder, 'renewed.pem'), key: join(folder, 'renewed.key') };
    await issueCertificate('openssl', { ca: join(folder, 'local/ca.pem'), caKey: join(folder, 'local/ca.key') }, leaf, [
      `DNS:*.${DOMAIN}`,
      `DNS:${DOMAIN}`,
    ]);
    await keep(`*.${DOMAIN}`, leaf.certificate, leaf.key);
    const renewed = `DNS:*.${DOMAIN}, DNS:${DOMAIN}`;
    await until('it is served', async () => (await namesOf(`page.${DOMAIN}`)) === renewed);
    expect(await namesOf(DOMAIN)).toBe(renewed);
    await redis.kill();
    try {
      expect(await namesOf(`page.${DOMAIN}`)).toBe(renewed);
    } finally {
      await redis.up();
      await fill(); // it keeps nothing
      await until('redis is heard again', async () => (await edge.health()).redis === 'up');
    }
  });

  it('that cannot be used leaves the one of the files in place', async () => {
    await keepDomain('bad.example.org', { device: 'bad', port: 80, certificate: { chain: 'x', key: 'y' } });
    expect(await namesOf('bad.example.org')).toContain(DOMAIN);
    await until('it is logged', () => edge.errorLog().includes('the certificate of domain bad.example.org cannot be used'));
  });
});

describe('a device by TLS', () => {
  it('gets records no longer than it asked for, whatever is sent to it', async () => {
    const big = await Origin.start((_req, res) => res.end('x'.repeat(100_000)));
    await redis.route('big', { address: big.address });
    const records = await recordsOf(`GET / HTTP/1.1\r\nHost: big.${DOMAIN}\r\nConnection: close\r\n\r\n`, 1024);
    await big.stop();
    expect(records.total).toBeGreaterThan(100_000);
    expect(records.longest).toBeLessThanOrEqual(1024 + 64);
  });

  it('goes to an ingress and to a listener', async () => {
    expect(JSON.parse((await askTls('localhost', '/v1/control?name=a')).body).headers['x-forwarded-proto']).toBe('https');
    expect((await askTls(DOMAIN, '/v1/transfer/tcp-listener-1/x')).status).toBe(200);
  });
});

describe('the plain port beside TLS', () => {
  it('sends visitors to the same address by TLS, whether the name is known or not', async () => {
    for (const label of ['page', 'no-such-name']) {
      const answer = await edge.ask({
        host: `${label.toUpperCase()}.${DOMAIN}:99`,
        path: '//a/../b%2F?q=https://evil',
        method: 'POST',
        body: 'x',
      });
      expect(answer.status).toBe(308);
      expect(answer.headers.location).toBe(`https://${label}.${DOMAIN}:${port}//a/../b%2F?q=https://evil`);
      expect(answer.headers['strict-transport-security']).toBeUndefined();
    }
  });

  it('refuses devices, and says where they are taken', async () => {
    for (const path of ['/v1/control?name=a&ports=80', '/v1/transfer/tcp-listener-1/x']) {
      const answer = await edge.ask({ host: '127.0.0.1', path });
      expect(answer.status).toBe(403);
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'forbidden' });
      expect(JSON.parse(answer.body).message).toContain(`https://${DOMAIN}:${port}`);
    }
  });

  it('takes both where the operator says so', async () => {
    const tlsPort = await freePort();
    const paths = { certificate: join(folder, 'local/edge.pem'), key: join(folder, 'local/edge.key') };
    const both = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1, {
      tls: { port: tlsPort, ...paths, plain: 'serve', plainDevices: true },
    });
    try {
      expect((await both.ask({ host: `page.${DOMAIN}` })).status).toBe(200);
      expect((await both.ask({ host: '127.0.0.1', path: '/v1/control' })).status).toBe(200);
    } finally {
      await both.stop();
    }
  });
});

describe('session tickets', () => {
  it('with a shared key are taken by another edge, and by the next key beside the former one', async () => {
    const [former, next] = [join(folder, 'former.ticket'), join(folder, 'next.ticket')];
    for (const file of [former, next]) writeFileSync(file, randomBytes(80));
    const paths = { certificate: join(folder, 'local/edge.pem'), key: join(folder, 'local/edge.key') };
    const sets = [[former], [former], [next, former], [next]];
    const edges: TestEdge[] = [];
    const ports: number[] = [];
    try {
      for (const ticketKeys of sets) {
        ports.push(await freePort());
        const tlsSettings = { port: ports.at(-1) as number, ...paths, ticketKeys };
        edges.push(await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1, { tls: tlsSettings }));
      }
      for (const version of ['-tls1_2', '-tls1_3']) {
        const session = join(folder, `session${version}`);
        expect(await client(ports[0], version, '-sess_out', session)).toContain('New, ');
        for (const port of ports.slice(1, 3)) expect(await client(port, version, '-sess_in', session)).toContain('Reused, ');
        expect(await client(ports[3], version, '-sess_in', session)).toContain('New, ');
      }
    } finally {
      for (const one of edges) await one.stop();
    }
  });

  it('are given to nobody without keys', async () => {
    const session = join(folder, 'session-none');
    const said = await client(port, '-tls1_2', '-sess_out', session);
    expect(said).not.toContain('TLS session ticket:');
    expect(await client(port, '-tls1_2', '-sess_in', session)).toContain('Reused, '); // out of the edge's memory
  });
});

it('an address that begins too many handshakes is refused, and resumes sessions all the same', async () => {
  const tlsPort = await freePort();
  const paths = { certificate: join(folder, 'local/edge.pem'), key: join(folder, 'local/edge.key') };
  const strict = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { EDGE_HANDSHAKES_PER_ADDRESS: 3 }, 1, {
    tls: { port: tlsPort, ...paths },
  });
  try {
    const session = join(folder, 'session-strict');
    expect(await client(tlsPort, '-tls1_2', '-sess_out', session)).toContain('New, ');
    for (let i = 0; i < 2; i++) await client(tlsPort, '-tls1_2');
    await expect(handshake(`page.${DOMAIN}`, { port: tlsPort })).rejects.toThrow();
    expect(await client(tlsPort, '-tls1_2', '-sess_in', session)).toContain('Reused, ');
    expect(strict.errorLog()).not.toMatch(/\[(warn|error|crit|alert|emerg)\]/);
  } finally {
    await strict.stop();
  }
});

it('the port of TLS tells who speaks plain HTTP to it where to go', async () => {
  const answer = await ask({ port, host: `page.${DOMAIN}`, path: '/x' });
  expect(answer.status).toBe(308);
  expect(answer.headers.location).toBe(`https://page.${DOMAIN}:${port}/x`);
  expect((await ask({ port, host: '127.0.0.1', path: '/' })).status).toBe(400);
});

/** What a client with `maximum fragment length` gets, counted by TLS record. */
async function recordsOf(text: string, fragment: number): Promise<{ total: number; longest: number }> {
  const args = [
    's_client',
    '-connect',
    `127.0.0.1:${port}`,
    '-servername',
    `big.${DOMAIN}`,
    '-CAfile',
    join(folder, 'local/ca.pem'),
  ];
  const client = spawn('openssl', [...args, '-maxfraglen', String(fragment), '-msg', '-quiet', '-ign_eof', '-tls1_2']);
  client.stdin.write(text);
  let said = '';
  client.stdout.setEncoding('latin1').on('data', (chunk: string) => {
    said += chunk;
  });
  client.stderr.resume();
  const late = setTimeout(() => client.kill(), 20_000);
  await once(client, 'close');
  clearTimeout(late);
  const headers = [...said.matchAll(/<<< TLS 1\.2, RecordHeader [^\n]*\n\s+17 03 03 ([0-9a-f]{2}) ([0-9a-f]{2})/g)];
  const lengths = headers.map(([, high = '', low = '']) => Number.parseInt(high + low, 16));
  return { total: lengths.reduce((sum, length) => sum + length, 0), longest: Math.max(...lengths) };
}

/** What openssl's own client says of a handshake and one request. */
async function client(at: number | undefined, ...args: string[]): Promise<string> {
  const options = [
    's_client',
    '-connect',
    `127.0.0.1:${at}`,
    '-servername',
    `page.${DOMAIN}`,
    '-CAfile',
    join(folder, 'local/ca.pem'),
  ];
  const child = spawn('openssl', [...options, '-ign_eof', ...args]);
  child.stdin.on('error', () => {}).write(`GET / HTTP/1.1\r\nHost: page.${DOMAIN}\r\nConnection: close\r\n\r\n`);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('latin1').on('data', (chunk: string) => {
      said += chunk;
    });
  }
  const late = setTimeout(() => child.kill(), 20_000);
  await once(child, 'close');
  clearTimeout(late);
  return said;
}
