import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ensureLocalTls } from '../../deploy/local/src/local-ca.ts';
import { DOMAIN, freePort, Origin, TestEdge, TestRedis } from './support.ts';

const A = `a.${DOMAIN}`;
let folder: string;
let redis: TestRedis;
let edge: TestEdge;
let tlsPort: number;
let origins: Origin[];
let session: ClientHttp2Session;
const seen: { who: string; method: string; url: string; headers: Record<string, unknown>; body: string }[] = [];

const record = (who: string): Promise<Origin> =>
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
const encrypted = (): tls.TLSSocket =>
  tls.connect({ port: tlsPort, host: '127.0.0.1', servername: A, rejectUnauthorized: false, ALPNProtocols: ['h2'] });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'culvert-edge-h2-'));
  const { certificate, key } = await ensureLocalTls('openssl', folder, DOMAIN);
  redis = await TestRedis.start();
  tlsPort = await freePort();
  const served = { port: tlsPort, certificate, key, plain: 'serve' as const, plainDevices: true };
  const rates = { EDGE_UNKNOWN_NAMES: 100_000, EDGE_FAILED_HANDSHAKES: 100_000, HANDSHAKE_MS: 2_000, EDGE_ANSWER_MS: 2_000 };
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, rates, 1, { tls: served });
  const [device, ingress, listener, admin] = [
    await record('device'),
    await record('ingress'),
    await record('listener'),
    await record('admin'),
  ];
  origins = [device, ingress, listener, admin];
  await redis.route('a', { address: device.address });
  await redis.instance('ws-ingress-1', 'ws-ingress', ingress.address);
  await redis.instance('tcp-listener-1', 'tcp-listener', listener.address);
  await redis.instance('admin-1', 'admin', admin.address);
  session = connected();
});
afterAll(async () => {
  session?.destroy();
  await edge?.stop();
  for (const origin of origins ?? []) await origin.stop();
  await redis?.stop();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  seen.length = 0;
});

const connected = (): ClientHttp2Session => connectHttp2(`https://${A}`, { createConnection: encrypted }).on('error', () => {});

/** Status of one request by a well-behaved client; 0 when the edge broke the stream or the connection off. */
async function ask(headers: Record<string, string | string[]>): Promise<number> {
  if (session.destroyed || session.closed) session = connected();
  const stream = session.request(headers);
  const broken = new Promise<number>((resolve) => stream.on('error', () => {}).once('close', () => resolve(0)));
  const answered = once(stream, 'response').then(
    ([answer]) => Number(answer[':status']),
    () => 0,
  );
  stream.resume();
  const status = await Promise.race([answered, broken]);
  await broken;
  return status;
}

describe('a path that tricks, over HTTP/2', () => {
  const variants = [
    ...['/v1/control', '/v1//control', '//v1/control', '/v1/./control', '/x/../v1/control', '/%76%31/control', '/v1%2fcontrol'],
    ...['/v1/control/', '/V1/control', '/v1/control;x=1', '/v1/control%00', '/v1/transfer/../control', '/v1\\control'],
    ...['/v1/transfer/tcp-listener-1/x', '/v1/transfer%2ftcp-listener-1/x', '/v1/access', '/v1/access/../devices', '/v1/devices'],
    ...['/v1/devices/../access', '/v1/devices/..%2faccess', '/docs/..%2fv1%2faccess', '/v1/access?x=/../devices', '/v1//access'],
    ...['/%2e/v1/control', '/a/%2e%2e/v1/control', '//culvert-fault', '/%2fculvert-fault', '/v1/enroll', '/v1/control#x'],
  ];
  it.each(variants)('is a path of the device under its own name: %s', async (path) => {
    expect([0, 200, 400, 404]).toContain(await ask({ ':path': path, ':authority': A }));
    expect(seen.filter(({ who }) => who !== 'device')).toEqual([]);
    for (const { url } of seen) expect(url).toBe(path);
  });

  it.each(variants)('reaches no device, and of the API tickets only, under the domain: %s', async (path) => {
    const status = await ask({ ':path': path, ':authority': DOMAIN });
    expect([0, 200, 400, 404]).toContain(status);
    for (const { who } of seen) expect(who).not.toBe('device');
    for (const { url, who } of seen.filter((one) => one.who === 'admin'))
      expect([who, url.split('?')[0]]).toEqual(['admin', '/v1/access']);
  });
});

describe('headers, over HTTP/2', () => {
  it.each([
    'x-forwarded-for',
    'x-forwarded-host',
    'x_forwarded_for',
    'forwarded',
    'x-real-ip',
    'culvert-visitor',
    'culvert-operator',
  ])('that only the edge may set are not taken over: %s', async (name) => {
    expect(await ask({ ':path': '/', ':authority': A, [name]: 'forged' })).toBe(200);
    await ask({ ':path': '/v1/control', ':authority': DOMAIN, [name]: 'forged' });
    expect(seen.map(({ who }) => who)).toEqual(['device', 'ingress']);
    for (const { headers } of seen) {
      expect(JSON.stringify(headers)).not.toContain('forged');
      expect(headers['x-forwarded-for']).toBe('127.0.0.1');
      expect(headers['x-forwarded-proto']).toBe('https');
    }
  });
});

/** HPACK without any compression: whatever bytes one likes, as names and values. */
function block(fields: readonly (readonly [string, string])[]): Buffer {
  const text = (word: string): Buffer => {
    const bytes = Buffer.from(word, 'latin1');
    const length: number[] = [];
    if (bytes.length < 127) length.push(bytes.length);
    else {
      length.push(127);
      let rest = bytes.length - 127;
      for (; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
      length.push(rest);
    }
    return Buffer.concat([Buffer.from(length), bytes]);
  };
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0x10]), text(name), text(value)]));
}

function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}
const [DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY, CONTINUATION] = [0, 1, 3, 4, 7, 9] as const;
const [END_STREAM, END_HEADERS] = [1, 4] as const;

/** Speaks HTTP/2 by hand, until the edge answers stream 1, breaks it off, or closes. */
async function speak(...frames: Buffer[]): Promise<'answered' | 'broken off' | 'closed' | 'silence'> {
  const socket = encrypted();
  let heard = Buffer.alloc(0);
  try {
    return await new Promise((resolve) => {
      socket.setTimeout(10_000, () => resolve('silence'));
      socket.on('error', () => {}).on('close', () => resolve('closed'));
      socket.on('data', (chunk: Buffer) => {
        heard = Buffer.concat([heard, chunk]);
        while (heard.length >= 9 && heard.length >= 9 + heard.readUIntBE(0, 3)) {
          const [length, type, stream] = [heard.readUIntBE(0, 3), heard.readUInt8(3), heard.readUInt32BE(5)];
          heard = heard.subarray(9 + length);
          if (type === HEADERS && stream === 1) resolve('answered');
          else if (type === RST_STREAM || type === GOAWAY) resolve('broken off');
        }
      });
      socket.write(
        Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(SETTINGS, 0, 0, Buffer.alloc(0)), ...frames]),
      );
    });
  } finally {
    socket.destroy();
  }
}

describe('a request by hand, over HTTP/2', () => {
  const usual = [
    [':method', 'GET'],
    [':scheme', 'https'],
    [':authority', A],
    [':path', '/'],
  ] as const;
  const without = (name: string) => usual.filter(([one]) => one !== name);
  const whole = (fields: readonly (readonly [string, string])[]): Buffer =>
    frame(HEADERS, END_STREAM | END_HEADERS, 1, block(fields));

  it('is answered when nothing is wrong with it', async () => {
    expect(await speak(whole(usual))).toBe('answered');
    expect(seen).toHaveLength(1);
  });

  it.each([
    ['a line end in a value', [...usual, ['x', 'y\r\nX-Forged: 1']]],
    ['a line end in a name', [...usual, ['x\r\nx-forged', '1']]],
    ['a zero in a value', [...usual, ['x', 'y\0z']]],
    ['a line end in the path', [...without(':path'), [':path', '/ HTTP/1.1\r\nX-Forged: 1\r\n\r\n']]],
    ['a blank in the path', [...without(':path'), [':path', '/a HTTP/1.1']]],
    ['a path of another host', [...without(':path'), [':path', `http://b.${DOMAIN}/`]]],
    ['an empty path', [...without(':path'), [':path', '']]],
    ['no path', without(':path')],
    ['two paths', [...usual, [':path', '/x-forged']]],
    ['a line end in the authority', [...without(':authority'), [':authority', `${A}\r\nX-Forged: 1`]]],
    ['two authorities', [...usual, [':authority', `b.${DOMAIN}`]]],
    ['no authority', without(':authority')],
    ['a line end in the method', [...without(':method'), [':method', 'GET / HTTP/1.1\r\nX-Forged: 1\r\n\r\nGET']]],
    ['no method', without(':method')],
    ['a pseudo header that nobody knows', [[':x-forged', '1'], ...usual]],
    ['a name in upper case', [...usual, ['X-Forged', '1']]],
    ['an empty name', [...usual, ['', 'x-forged']]],
    ['a header of 70,000 bytes', [...usual, ['x', 'y'.repeat(70_000)]]],
  ] as [string, [string, string][]][])('with %s forges nothing', async (_what, fields) => {
    const bytes = block(fields);
    const first = bytes.subarray(0, 16_000);
    const rest = bytes.subarray(16_000);
    const frames = [frame(HEADERS, END_STREAM | (rest.length === 0 ? END_HEADERS : 0), 1, first)];
    for (let at = 0; at < rest.length; at += 16_000) {
      const last = at + 16_000 >= rest.length;
      frames.push(frame(CONTINUATION, last ? END_HEADERS : 0, 1, rest.subarray(at, at + 16_000)));
    }
    expect(await speak(...frames)).not.toBe('silence');
    expect(seen.length).toBeLessThanOrEqual(1);
    for (const { headers, url } of seen) {
      expect(headers).not.toHaveProperty('x-forged');
      expect(headers.host).toBe(A);
      expect(url).toMatch(/^\/[^ \r\n]*$/);
    }
  });

  it.each([
    ['transfer-encoding', 'chunked'],
    ['content-length', '0'],
    ['content-length', '5, 0'],
    ['connection', 'x-forwarded-for, culvert-visitor'],
    ['upgrade', 'websocket'],
    ['te', 'chunked'],
  ])('cannot hide another request behind %s: %s', async (name, value) => {
    const hidden = Buffer.from(`0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: b.${DOMAIN}\r\n\r\n`);
    const head = frame(HEADERS, END_HEADERS, 1, block([[':method', 'POST'], ...without(':method'), [name, value]]));
    expect(await speak(head, frame(DATA, END_STREAM, 1, hidden))).not.toBe('silence');
    expect(seen.length).toBeLessThanOrEqual(1);
    for (const { headers, url } of seen) {
      expect(url).toBe('/');
      expect(headers['content-length'] !== undefined && headers['transfer-encoding'] !== undefined).toBe(false);
      expect(headers['culvert-visitor']).toMatch(/^[0-9a-f]{32}$/);
    }
  });

  it('that never ends its headers loses its place at the deadline', async () => {
    const unfinished = frame(HEADERS, 0, 1, block(usual));
    expect(await speak(unfinished)).not.toBe('silence');
    expect(seen).toEqual([]);
  });
});

it('nothing of all this is an error of ours', () => {
  expect(edge.errorLog()).not.toMatch(/\[(?:alert|emerg|crit)\]|lua entry thread aborted|runtime error/);
});
