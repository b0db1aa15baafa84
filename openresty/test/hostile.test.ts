import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureLocalTls } from '../../deploy/local/src/local-ca.ts';
import { DOMAIN, freePort, Origin, TestEdge, TestRedis, until } from './support.ts';

const HEADER_MS = 700;
let folder: string;
let redis: TestRedis;
let edge: TestEdge;
let tlsPort: number;
let device: Origin;
let ingress: Origin;
let admin: Origin;
interface Seen {
  who: 'device' | 'ingress' | 'admin';
  method: string;
  url: string;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}
const seen: Seen[] = [];

const record = (who: Seen['who']) =>
  Origin.start((req, res) => {
    let body = '';
    req.setEncoding('latin1').on('data', (chunk) => {
      body += chunk;
    });
    req.on('end', () => {
      seen.push({ who, method: req.method ?? '', url: req.url ?? '', headers: req.headers, body });
      res.end(`${who} was here`);
    });
  });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-edge-hostile-'));
  const { certificate, key } = await ensureLocalTls('openssl', folder, DOMAIN);
  redis = await TestRedis.start();
  tlsPort = await freePort();
  const served = { port: tlsPort, certificate, key, plain: 'serve' as const, plainDevices: true };
  const limits = { HANDSHAKE_MS: HEADER_MS, EDGE_ANSWER_MS: HEADER_MS };
  const rates = { EDGE_UNKNOWN_NAMES: 100_000, EDGE_FAILED_HANDSHAKES: 100_000 };
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { ...limits, ...rates }, 1, { tls: served });
  [device, ingress, admin] = [await record('device'), await record('ingress'), await record('admin')];
  await redis.route('a', { address: device.address });
  await redis.route('b', { address: device.address, device: 'b' });
  await redis.instance('ws-ingress-1', 'ws-ingress', ingress.address);
  await redis.instance('admin-1', 'admin', admin.address);
});
afterAll(async () => {
  await edge?.stop();
  await device?.stop();
  await ingress?.stop();
  await admin?.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  seen.length = 0;
});

const A = `a.${DOMAIN}`;
const statuses = (text: string): number[] => [...text.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, code]) => Number(code));

/** Two requests in one: what hides in the first one's body must never be served as a request of its own. */
const HIDDEN = `GET /hidden HTTP/1.1\r\nHost: b.${DOMAIN}\r\n\r\n`;

describe('a request hidden in another', () => {
  const post = (headers: string, body: string): string =>
    `POST /outer HTTP/1.1\r\nHost: ${A}\r\n${headers}Connection: close\r\n\r\n${body}`;
  it.each([
    ['a length and chunks', post(`Content-Length: ${HIDDEN.length + 5}\r\nTransfer-Encoding: chunked\r\n`, `0\r\n\r\n${HIDDEN}`)],
    ['chunks and a length', post('Transfer-Encoding: chunked\r\nContent-Length: 4\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['chunks twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['chunks, and another coding', post('Transfer-Encoding: chunked, identity\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['a blank before the colon', post('Transfer-Encoding : chunked\r\nContent-Length: 0\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['a tab in the coding', post('Transfer-Encoding: \x0bchunked\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['a folded header', post('X: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['a folded coding', post('Transfer-Encoding:\r\n chunked\r\nContent-Length: 0\r\n', `0\r\n\r\n${HIDDEN}`)],
    ['an underscore', post('Transfer_Encoding: chunked\r\nContent-Length: 0\r\n', HIDDEN)],
    ['a signed length', post('Content-Length: +0\r\n', HIDDEN)],
    ['a negative length', post('Content-Length: -1\r\n', HIDDEN)],
    ['a list of lengths', post('Content-Length: 0, 5\r\n', HIDDEN)],
    ['a length in hex', post('Content-Length: 0x0\r\n', HIDDEN)],
    ['a length without end', post(`Content-Length: ${'9'.repeat(40)}\r\n`, HIDDEN)],
    ['a chunk larger than any', post('Transfer-Encoding: chunked\r\n', `${'F'.repeat(20)}\r\n\r\n0\r\n\r\n${HIDDEN}`)],
    ['a chunk of negative size', post('Transfer-Encoding: chunked\r\n', `-1\r\n\r\n0\r\n\r\n${HIDDEN}`)],
    ['a chunk that is no number', post('Transfer-Encoding: chunked\r\n', `0x0\r\n\r\n${HIDDEN}`)],
    ['chunks in HTTP/1.0', post('Transfer-Encoding: chunked\r\n', `0\r\n\r\n${HIDDEN}`).replace('HTTP/1.1', 'HTTP/1.0')],
    [
      'a body of GET',
      `GET /outer HTTP/1.1\r\nHost: ${A}\r\nContent-Length: ${HIDDEN.length}\r\nConnection: close\r\n\r\n${HIDDEN}`,
    ],
    [
      'an upgrade that is none',
      `GET /outer HTTP/1.1\r\nHost: ${A}\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n${HIDDEN}`,
    ],
  ])('by %s is not served', async (_what, text) => {
    const answer = await edge.raw(text);
    expect(statuses(answer).length).toBeLessThanOrEqual(1);
    expect(seen.filter(({ url }) => url === '/hidden')).toEqual([]);
    for (const { headers } of seen)
      expect(headers['content-length'] !== undefined && headers['transfer-encoding'] !== undefined).toBe(false);
  });

  it('by line feeds alone reaches the device as one clean request', async () => {
    const answer = await edge.raw(`GET /lf HTTP/1.1\nHost: ${A}\nX-Forwarded-For: 9.9.9.9\nX: 1\nConnection: close\n\n`);
    expect(statuses(answer)).toEqual([200]);
    expect(seen).toHaveLength(1);
    expect(seen[0]?.headers).toMatchObject({ host: A, 'x-forwarded-for': '127.0.0.1', x: '1' });
  });
});

describe('a Host that confuses', () => {
  it.each([
    ...[
      `${A}:80:80`,
      `${A}@evil.example`,
      `evil.example@${A}`,
      `${A}/x`,
      `${A}?x`,
      `${A}#x`,
      `${A}\\x`,
      `${A},b.${DOMAIN}`,
      `${A} b.${DOMAIN}`,
    ],
    ...[
      `a..${DOMAIN}`,
      `.${A}`,
      `${A}..`,
      `${'a'.repeat(300)}.${DOMAIN}`,
      `${'a.'.repeat(150)}${DOMAIN}`,
      `-a.${DOMAIN}`,
      `a-.${DOMAIN}`,
    ],
    ...[`a%2e${DOMAIN}`, `a%00.${DOMAIN}`, `*.${DOMAIN}`, `_.${DOMAIN}`, `\xe4.${DOMAIN}`, `a.${DOMAIN}:x`],
    ...['[::1', '[::1]x', '[]', '::1'],
    ...[
      '127.1',
      '0x7f000001',
      '2130706433',
      '127.0.0.1',
      '[::1]',
      '[::ffff:127.0.0.1]',
      'localhost',
      `${A}.evil.example`,
      `xn--a-ecp.${DOMAIN}`,
      `x${A}`,
    ],
  ])('leads nowhere: %j', async (host) => {
    const answer = await edge.raw(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect([400, 404]).toContain(statuses(answer)[0]);
    expect(seen).toEqual([]);
  });

  it.each([A.toUpperCase(), `${A}.`, `${A}:1`, `${A}:65535`, `${A}.:8080`])('may be written otherwise: %j', async (host) => {
    const answer = await edge.raw(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(statuses(answer)).toEqual([200]);
    expect(seen.map(({ who }) => who)).toEqual(['device']);
  });

  it('in the request line counts only together with the header', async () => {
    const same = await edge.raw(`GET http://${A}/abs HTTP/1.1\r\nHost: ${A}\r\nConnection: close\r\n\r\n`);
    expect(statuses(same)).toEqual([200]);
    expect(seen.map(({ url }) => url)).toEqual(['/abs']);
    for (const [line, host] of [
      [`GET http://b.${DOMAIN}/x HTTP/1.1`, A],
      [`GET http://${A}@b.${DOMAIN}/x HTTP/1.1`, A],
      ['GET http:///x HTTP/1.1', A],
      [`CONNECT b.${DOMAIN}:80 HTTP/1.1`, A],
    ]) {
      const answer = await edge.raw(`${line}\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
      expect([400, 405]).toContain(statuses(answer)[0]);
    }
    expect(seen).toHaveLength(1);
  });

  it('of HTTP/2 is one only', async () => {
    const secure = tls.connect({
      port: tlsPort,
      host: '127.0.0.1',
      servername: A,
      rejectUnauthorized: false,
      ALPNProtocols: ['h2'],
    });
    const client = connectHttp2(`https://${A}`, { createConnection: () => secure });
    const ask = async (headers: Record<string, string>): Promise<number> => {
      const stream = client.request({ ':path': '/', ...headers });
      const [answer] = await once(stream, 'response');
      stream.resume();
      return Number(answer[':status']);
    };
    expect(await ask({ ':authority': A })).toBe(200);
    expect(await ask({ ':authority': A, host: `b.${DOMAIN}` })).toBe(400);
    client.close();
    expect(seen.map(({ headers }) => headers.host)).toEqual([A]);
  });
});

describe('a path that tricks', () => {
  const VARIANTS = [
    ...[
      '/v1/control',
      '/v1//control',
      '//v1/control',
      '/v1/./control',
      '/x/../v1/control',
      '/%76%31/control',
      '/v1%2fcontrol',
      '/v1/control/',
    ],
    ...[
      '/V1/control',
      '/v1/control;x=1',
      '/v1/control%00',
      '/v1/transfer/../control',
      '/v1/transfer%2ftcp-listener-1/x',
      '/v1\\control',
    ],
    ...['/v1/devices/../access', '/v1/devices/..%2faccess', '/docs/..%2fv1%2faccess', '/v1//access'],
    ...['/%2e/v1/control', '/%2e%2e/v1/control', '/a/%2e%2e/v1/control', '//culvert-fault', '/%2fculvert-fault'],
  ];
  it.each(VARIANTS)('is a path of the device under its own name: %s', async (path) => {
    const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: ${A}\r\nConnection: close\r\n\r\n`);
    expect([200, 400, 404]).toContain(statuses(answer)[0]);
    expect(seen.filter(({ who }) => who !== 'device')).toEqual([]);
    for (const { url } of seen) expect(url).toBe(path); // as it was sent: the device decides what it means
  });

  it.each(VARIANTS)('reaches no device and no other service under the domain: %s', async (path) => {
    const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`);
    expect([200, 400, 404]).toContain(statuses(answer)[0]);
    expect(seen.filter(({ who }) => who === 'device')).toEqual([]);
    for (const { url } of seen.filter(({ who }) => who === 'admin')) expect(url).toBe('/v1/access');
  });
});

describe('headers that only the edge may set', () => {
  it.each([
    'X-Forwarded-For',
    'X-Forwarded-Proto',
    'X_Forwarded_Host',
    'x-forwarded-anything',
    'Forwarded',
    'X-Real-IP',
    'Culvert-Visitor',
    'CULVERT_SECRET',
    'Culvert-Operator',
  ])('are not taken over: %s', async (name) => {
    const connection = `Connection: close, ${name}, Culvert-Visitor\r\n`;
    for (const host of [A, DOMAIN]) {
      const path = host === A ? '/' : '/v1/control';
      await edge.raw(`GET ${path} HTTP/1.1\r\nHost: ${host}\r\n${name}: forged\r\n${name}: forged\r\n${connection}\r\n`);
    }
    expect(seen.map(({ who }) => who)).toEqual(['device', 'ingress']);
    for (const { headers } of seen) {
      expect(JSON.stringify(headers)).not.toContain('forged');
      expect(headers['culvert-visitor']).toMatch(/^[0-9a-f]{32}$/);
      expect(headers['x-forwarded-for']).toBe('127.0.0.1');
    }
  });

  it.each(['/a%0d%0aSet-Cookie:x=1', '/a%0aX:1', '/?q=%0d%0aX:1'])(
    'cannot be made by line ends in the path: %s',
    async (path) => {
      const answer = await edge.raw(`GET ${path} HTTP/1.1\r\nHost: ${A}\r\nConnection: close\r\n\r\n`);
      expect(answer).not.toMatch(/^(?:Set-Cookie|X):/im);
      expect(seen.map(({ url }) => url)).toEqual([path]);
    },
  );
});

describe('a peer that is slow', () => {
  const closes = async (port: number, bytes: Buffer | string): Promise<string> => {
    const socket = connect(port, '127.0.0.1');
    let text = '';
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        text += chunk.toString('latin1');
      });
    socket.setTimeout(15_000, () => socket.destroy(new Error('it is still open')));
    if (bytes.length > 0) socket.write(bytes);
    await once(socket, 'close');
    expect(socket.errored?.message ?? '').not.toBe('it is still open');
    return text;
  };
  const HALF_HELLO = Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]);

  it.each([
    ['says nothing', ''],
    ['says half a request line', 'GET /'],
    ['says half a header', `GET / HTTP/1.1\r\nHost: ${A}\r\nX: `],
    ['says half a handshake of a device', 'GET /v1/control?name=a HTTP/1.1\r\nHost: x\r\n'],
  ])('and %s is let go at the deadline, plain and by TLS', async (_what, text) => {
    expect(statuses(await closes(edge.port, text)).filter((code) => code < 400)).toEqual([]);
    const secure = tls.connect({ port: tlsPort, host: '127.0.0.1', rejectUnauthorized: false });
    secure.on('error', () => {}).on('data', () => {});
    secure.setTimeout(15_000, () => secure.destroy(new Error('it is still open')));
    if (text !== '') secure.write(text);
    await once(secure, 'close');
    expect(secure.errored?.message ?? '').not.toBe('it is still open');
    expect(seen).toEqual([]);
  });

  it('in its TLS handshake is let go at the deadline', async () => {
    for (const bytes of ['', HALF_HELLO, '\x16']) await closes(tlsPort, bytes);
  });

  it('in the middle of its body is let go, and the device is not kept waiting', async () => {
    const small = await closes(edge.port, `POST / HTTP/1.1\r\nHost: ${A}\r\nContent-Length: 100\r\n\r\nx`);
    const chunked = await closes(edge.port, `POST / HTTP/1.1\r\nHost: ${A}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab`);
    for (const text of [small, chunked]) expect(statuses(text).filter((code) => code < 400)).toEqual([]);
    expect(seen).toEqual([]);
  });

  it('does not keep others from being served', async () => {
    const sockets = Array.from({ length: 300 }, () => connect(edge.port, '127.0.0.1').on('error', () => {}));
    for (const socket of sockets) socket.write('GET / HTTP/1.1\r\nHost: ');
    expect((await edge.ask({ host: A })).status).toBe(200);
    for (const socket of sockets) socket.destroy();
  });
});

describe('what is larger than allowed', () => {
  it.each([
    ['a header name', `GET / HTTP/1.1\r\nHost: ${A}\r\n${'x'.repeat(70_000)}: y\r\n\r\n`],
    ['a cookie', `GET / HTTP/1.1\r\nHost: ${A}\r\nCookie: ${'x'.repeat(70_000)}\r\n\r\n`],
    ['a method', `${'G'.repeat(70_000)} / HTTP/1.1\r\nHost: ${A}\r\n\r\n`],
    ['a query', `GET /?${'x'.repeat(70_000)} HTTP/1.1\r\nHost: ${A}\r\n\r\n`],
    ['a request without an end of line', 'G'.repeat(200_000)],
    ['many headers', `GET / HTTP/1.1\r\nHost: ${A}\r\n${'X: y\r\n'.repeat(20_000)}\r\n`],
    ['the query of a handshake', `GET /v1/control?name=${'x'.repeat(70_000)} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ])('is refused: %s', async (_what, text) => {
    // The edge may close while we still write: a reset is as good as a refusal.
    const answer = await edge.raw(text).catch(() => 'HTTP/1.1 400 ');
    expect(statuses(answer)[0] ?? 400).toBeGreaterThanOrEqual(400);
    expect(seen).toEqual([]);
  });
});

describe('an address that asks too often', () => {
  const limits = { EDGE_UNKNOWN_NAMES: 5, EDGE_FAILED_HANDSHAKES: 5, EDGE_VISITORS_PER_ADDRESS: 3 };
  let strict: TestEdge;
  beforeAll(async () => {
    strict = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, limits, 1);
  });
  afterAll(() => strict?.stop());

  it('for names that nobody has gets no more of them looked up, but still what the edge knows', async () => {
    expect((await strict.ask({ host: A })).status).toBe(200);
    for (let i = 0; i < 5; i += 1) expect((await strict.ask({ host: `guess-${i}.${DOMAIN}` })).status).toBe(404);
    const refused = await strict.ask({ host: `guess-6.${DOMAIN}` });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect((await strict.ask({ host: `b.${DOMAIN}` })).status).toBe(429);
    expect((await strict.ask({ host: A })).status).toBe(200);
    expect((await strict.ask({ host: `b.${DOMAIN}`, address: '::1' })).status).toBe(200);
  });

  it('with handshakes that are refused is sent away for the rest of the minute', async () => {
    const refusing = await Origin.start((_req, res) => res.writeHead(401).end('{}'));
    await redis.instance('tcp-listener-9', 'tcp-listener', refusing.address);
    const ask = () => strict.ask({ host: '127.0.0.1', path: '/v1/transfer/tcp-listener-9/x' });
    for (let i = 0; i < 5; i += 1) expect((await ask()).status).toBe(401);
    const refused = await ask();
    expect(refused.status).toBe(429);
    expect(JSON.parse(refused.body).code).toBe('rate_limited');
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
    expect((await strict.ask({ host: '127.0.0.1', path: '/v1/control' })).status).toBe(429);
    expect((await strict.ask({ host: '127.0.0.1', path: '/v1/control', address: '::1' })).status).toBe(200);
    await refusing.stop();
  });

  it('at once has only so many requests', async () => {
    const held: (() => void)[] = [];
    const slow = await Origin.start((_req, res) => held.push(() => res.end('done')));
    await redis.route('slow', { address: slow.address });
    const six = { host: `slow.${DOMAIN}`, address: '::1' };
    const running = [strict.ask(six), strict.ask(six), strict.ask(six)];
    await until('all three are there', () => held.length === 3);
    expect((await strict.ask(six)).status).toBe(429);
    for (const end of held) end();
    for (const one of running) expect((await one).status).toBe(200);
    await slow.stop();
  });
});

it('nothing of all this is an error of ours', () => {
  expect(edge.errorLog()).not.toMatch(/\[(?:alert|emerg|crit)\]|lua entry thread aborted|runtime error/);
});
