import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { echo, happened, serve, start, target, until } from './kit.ts';
import type { TestServer } from './server.ts';

interface Proxy {
  url: string;
  connects: { target: string; authorization: string | undefined }[];
}

/** A real HTTP proxy that knows CONNECT only. */
async function proxy(credentials?: string, earlyBytes = false): Promise<Proxy> {
  const connects: Proxy['connects'] = [];
  const sockets = new Set<Socket>();
  const server = createServer();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  server.on('connect', (request: IncomingMessage, near: Socket, head: Buffer) => {
    const authorization = request.headers['proxy-authorization'];
    connects.push({ target: request.url ?? '', authorization });
    if (credentials !== undefined && authorization !== `Basic ${Buffer.from(credentials).toString('base64')}`) {
      near.end('HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    const { hostname, port } = new URL(`http://${request.url}`);
    const far = connect({ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || 80 }, () => {
      near.write(`HTTP/1.1 200 Connection established\r\n${earlyBytes ? 'X-Filler: y\r\n' : ''}\r\n`);
      far.write(head);
      near.pipe(far).pipe(near);
    });
    sockets.add(far);
    far.on('error', () => near.destroy()).on('close', () => near.destroy());
    near.on('close', () => far.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const login = credentials === undefined ? '' : `${credentials.replace('@', '%40')}@`;
  return { url: `http://${login}127.0.0.1:${(server.address() as AddressInfo).port}`, connects };
}

/** One visitor's echo, to show that control and transfer work. */
async function echoes(server: TestServer, options: Partial<Parameters<typeof start>[0]> = {}) {
  const mappings = [{ port: 7, scheme: 'tcp' as const, target: { host: '127.0.0.1', port: await target(echo) } }];
  const { events } = start({ servers: [server.url], mappings, warm: 0, ...options });
  const control = await server.control(0);
  await happened(events, 'ready');
  const peer = await server.transfer(control, 7);
  peer.send('over here');
  peer.end();
  await until('the echo', () => peer.ended);
  expect(peer.received.toString()).toBe('over here');
  expect(await happened(events, 'transfer')).toMatchObject({ outcome: 'ok' });
}

describe('through an HTTP proxy', () => {
  it('goes by CONNECT, for control and transfers', async () => {
    const [server, by] = [await serve(), await proxy()];
    await echoes(server, { proxy: by.url });
    const { host } = new URL(server.url);
    expect(by.connects.map((each) => each.target)).toEqual([host, host]);
  });

  it('sends the credentials of its URL to the proxy, and no token', async () => {
    const [server, by] = [await serve(), await proxy('user:p@ss', true)];
    await echoes(server, { proxy: by.url });
    expect(by.connects[0]?.authorization).toBe(`Basic ${Buffer.from('user:p@ss').toString('base64')}`);
  });

  it('tells what the proxy said when it refuses', async () => {
    const [server, by] = [await serve(), await proxy('user:pass')];
    const { events } = start({ servers: [server.url], proxy: by.url.replace('user:pass@', '') });
    expect((await happened(events, 'disconnected')).message).toMatch(/proxy.*407/);
    expect(server.handshakes).toEqual([]);
  });

  it('reaches IPv6 literals', async () => {
    const [server, by] = [await serve({ host: '::1' }), await proxy()];
    await echoes(server, { proxy: by.url });
    expect(by.connects[0]?.target).toBe(new URL(server.url).host);
  });
});

it('reaches a server by an IPv6 literal', async () => {
  const server = await serve({ host: '::1' });
  await echoes(server);
  expect(server.handshakes[0]?.headers.host).toBe(new URL(server.url).host);
});

describe('over TLS', () => {
  const dir = mkdtempSync(join(tmpdir(), 'culvert-tls-'));
  const at = (name: string) => join(dir, name);
  let ca: string;
  let tls: { key: string; cert: string };

  beforeAll(() => {
    const openssl = (...args: string[]) => execFileSync('openssl', args, { cwd: dir, stdio: 'pipe' });
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test ca', '-days', '2');
    openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
    writeFileSync(at('ext'), 'subjectAltName=DNS:localhost\n');
    const signed = ['-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', 'ext'];
    openssl('x509', '-req', ...signed, '-out', 'server.pem');
    ca = readFileSync(at('ca.pem'), 'utf8');
    tls = { key: readFileSync(at('server.key'), 'utf8'), cert: readFileSync(at('server.pem'), 'utf8') };
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it('works with a certificate of a named authority', async () => {
    await echoes(await serve({ tls }), { ca });
  });

  it('works through a proxy as well', async () => {
    const [server, by] = [await serve({ tls }), await proxy()];
    await echoes(server, { ca, proxy: by.url });
    expect(by.connects[0]?.target).toMatch(/^localhost:\d+$/);
  });

  it('refuses a certificate of an unknown authority, before it sends anything', async () => {
    const server = await serve({ tls });
    const { events } = start({ servers: [server.url] });
    expect((await happened(events, 'disconnected')).message).toMatch(/certificate/i);
    expect(server.handshakes).toEqual([]);
  });

  it('refuses a certificate for another name', async () => {
    const server = await serve({ tls });
    const { events } = start({ servers: [server.url.replace('localhost', '127.0.0.1')], ca });
    expect((await happened(events, 'disconnected')).message).toMatch(/certificate|altname/i);
    expect(server.handshakes).toEqual([]);
  });
});
