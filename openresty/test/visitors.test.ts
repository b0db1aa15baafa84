import { once } from 'node:events';
import { type IncomingMessage, type RequestListener, request, type ServerResponse } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DOMAIN, Origin, TestEdge, TestRedis, until } from './support.ts';

let redis: TestRedis;
let edge: TestEdge;
const origins: Origin[] = [];

beforeAll(async () => {
  redis = await TestRedis.start();
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`);
});
afterAll(async () => {
  await edge?.stop();
  await redis?.stop();
});
afterEach(async () => {
  for (const origin of origins.splice(0)) await origin.stop();
});

async function device(label: string, listener: RequestListener): Promise<Origin> {
  const origin = await Origin.start(listener);
  origins.push(origin);
  await redis.route(label, { address: origin.address });
  return origin;
}

const echo = (req: IncomingMessage, res: ServerResponse): void => {
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify({ url: req.url, method: req.method, headers: req.headers, raw: req.rawHeaders }));
};

describe('a visitor of a known name', () => {
  it('reaches the device with path, host and its own address as they are', async () => {
    await device('echo', echo);
    const path = '/a%2Fb//c/%20?q=%2B&x=1;2';
    const answer = await edge.ask({ host: `ECHO.${DOMAIN}:8080`, path, headers: { 'accept-encoding': 'br', api_key: 'k' } });
    expect(answer.status).toBe(200);
    const seen = JSON.parse(answer.body);
    expect(seen.url).toBe(path);
    expect(seen.headers).toMatchObject({
      host: `ECHO.${DOMAIN}:8080`,
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': `ECHO.${DOMAIN}:8080`,
      'accept-encoding': 'br',
      api_key: 'k',
    });
    expect(seen.headers['culvert-visitor']).toMatch(/^[0-9a-f]{32}$/);
    expect(answer.headers['culvert-visitor']).toBe(seen.headers['culvert-visitor']);
  });

  it('cannot forge what only the edge may say', async () => {
    await device('forge', echo);
    const headers = {
      'X-Forwarded-For': '9.9.9.9',
      'X-Forwarded-Host': 'evil',
      'X-Forwarded-Port': '1',
      X_Forwarded_For: '9.9.9.9',
      'X-Real-IP': '9.9.9.9',
      Forwarded: 'for=9.9.9.9',
      'Culvert-Visitor': 'forged',
      'Culvert-Secret': 'forged',
      Culvert_Outcome: 'forged',
    };
    const answer = await edge.ask({ host: `forge.${DOMAIN}`, headers });
    expect(answer.body).not.toMatch(/9\.9\.9\.9|evil|forged/);
    expect(JSON.parse(answer.body).headers['x-forwarded-for']).toBe('127.0.0.1');
  });

  it('comes by IPv6 with an IPv6 address', async () => {
    await device('six', echo);
    const answer = await edge.ask({ host: `six.${DOMAIN}`, address: '::1' });
    expect(JSON.parse(answer.body).headers['x-forwarded-for']).toBe('::1');
  });

  it('gets the answer of the device unchanged, its own error pages and headers of ours left out', async () => {
    await device('own', (_req, res) => {
      res.writeHead(503, {
        server: 'the device',
        'retry-after': '77',
        'x-accel-redirect': '//culvert-fault',
        'culvert-outcome': 'local_refused',
        'culvert-secret': 'guessed',
        'culvert-other': 'x',
        'set-cookie': ['a=1', 'b=2'],
      });
      res.end('my own page');
    });
    const answer = await edge.ask({ host: `own.${DOMAIN}` });
    expect(answer).toMatchObject({ status: 503, body: 'my own page' });
    expect(answer.headers).toMatchObject({ server: 'the device', 'retry-after': '77', 'set-cookie': ['a=1', 'b=2'] });
    expect(Object.keys(answer.headers).filter((name) => name.startsWith('culvert-'))).toEqual(['culvert-visitor']);
  });

  it('shares connections to the device with visitors before it', async () => {
    const origin = await device('kept', echo);
    // One worker after the other gets them: at most a connection each.
    for (let i = 0; i < 12; i += 1) expect((await edge.ask({ host: `kept.${DOMAIN}` })).status).toBe(200);
    expect(origin.connections).toBeLessThanOrEqual(2);
  });

  it('does so for half of the time that former workers of an edge have, since what is behind may go through such', async () => {
    const brief = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { WIND_DOWN_MS: 1_000 }, 1);
    try {
      const origin = await device('brief', echo);
      const end = performance.now() + 1_200;
      let asked = 0;
      for (; performance.now() < end; asked += 1) {
        expect((await brief.ask({ host: `brief.${DOMAIN}` })).status).toBe(200);
        await new Promise((done) => setTimeout(done, 20));
      }
      expect(origin.connections).toBeGreaterThanOrEqual(2);
      expect(origin.connections).toBeLessThan(asked / 2);
    } finally {
      await brief.stop();
    }
  });

  it('has a connection of its own where the device can take few, and for what must not be sent twice', async () => {
    const origin = await device('alone', echo);
    await edge.ask({ host: `alone.${DOMAIN}`, method: 'POST', body: 'x' });
    await edge.ask({ host: `alone.${DOMAIN}`, method: 'POST', body: 'x' });
    expect(origin.connections).toBe(2);
    await redis.route('alone', { address: origin.address, keepalive: '0' });
    const closed = await until('the change is heard', async () => {
      const answer = await edge.ask({ host: `alone.${DOMAIN}` });
      return JSON.parse(answer.body).headers.connection === 'close';
    });
    expect(closed).toBe(true);
    const before = origin.connections;
    for (let i = 0; i < 3; i += 1) await edge.ask({ host: `alone.${DOMAIN}` });
    expect(origin.connections).toBe(before + 3);
  });

  it('gets HEAD without a body and ranges as the device gives them', async () => {
    await device('range', (req, res) => {
      if (req.headers.range !== undefined) {
        res.writeHead(206, { 'content-range': 'bytes 1-3/10', 'content-length': 3 });
        res.end(req.method === 'HEAD' ? undefined : 'bcd');
        return;
      }
      res.writeHead(200, { 'content-length': 10, 'accept-ranges': 'bytes' });
      res.end(req.method === 'HEAD' ? undefined : 'abcdefghij');
    });
    const head = await edge.ask({ host: `range.${DOMAIN}`, method: 'HEAD' });
    expect(head).toMatchObject({ status: 200, body: '' });
    expect(head.headers['content-length']).toBe('10');
    const part = await edge.ask({ host: `range.${DOMAIN}`, headers: { range: 'bytes=1-3' } });
    expect(part).toMatchObject({ status: 206, body: 'bcd' });
    expect(part.headers['content-range']).toBe('bytes 1-3/10');
  });

  it('sends and gets headers of many KiB', async () => {
    await device('fat', (req, res) => res.setHeader('set-cookie', `a=${req.headers.cookie}`).end());
    const cookie = 'c'.repeat(7000);
    const headers = { cookie, 'x-1': cookie };
    const answer = await edge.ask({ host: `fat.${DOMAIN}`, headers });
    expect(answer.headers['set-cookie']).toEqual([`a=${cookie}`]);
  });

  it('of HTTP/1.0 is served, too', async () => {
    await device('old', (_req, res) => {
      res.write('piece ');
      res.end('by piece');
    });
    const text = await edge.raw(`GET / HTTP/1.0\r\nHost: old.${DOMAIN}\r\n\r\n`);
    expect(text).toMatch(/^HTTP\/1\.1 200 [\s\S]*\r\n\r\npiece by piece$/);
  });

  it('reaches a listener by IPv6', async () => {
    const origin = await Origin.start(echo, 0, '::1');
    origins.push(origin);
    await redis.route('six-address', { address: `[::1]:${origin.port}` });
    expect((await edge.ask({ host: `six-address.${DOMAIN}` })).status).toBe(200);
  });
});

describe('streams', () => {
  it('of the device arrive piece by piece', async () => {
    let next = (): void => {};
    await device('sse', (_req, res) => {
      res.writeHead(200, { 'content-type': 'text/event-stream' });
      let n = 0;
      next = () => {
        n += 1;
        if (n > 3) res.end();
        else res.write(`data: ${n}\n\n`);
      };
      next();
    });
    const req = request({ port: edge.port, host: '127.0.0.1', headers: { host: `sse.${DOMAIN}` }, agent: false }).end();
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    const pieces: string[] = [];
    // The next piece is only written when this one has arrived: a buffer anywhere would stop it here.
    for await (const chunk of res.setEncoding('utf8')) {
      pieces.push(chunk);
      next();
    }
    expect(pieces).toEqual(['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']);
  });

  it('of the visitor arrive piece by piece, however large', async () => {
    let received = 0;
    let ended = false;
    await device('upload', (req, res) => {
      req.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      req.on('end', () => {
        ended = true;
        res.end(String(received));
      });
    });
    const headers = { host: `upload.${DOMAIN}` };
    const req = request({ port: edge.port, host: '127.0.0.1', method: 'PUT', headers, agent: false });
    const megabyte = Buffer.alloc(1024 * 1024, 7);
    req.write(megabyte);
    await until('the first megabyte is there before there is a second', () => received === megabyte.length);
    expect(ended).toBe(false);
    for (let i = 0; i < 31; i += 1) req.write(megabyte);
    req.end();
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of res.setEncoding('utf8')) body += chunk;
    expect(body).toBe(String(32 * megabyte.length));
  });

  it('begin after 100 Continue where the visitor asks for it', async () => {
    await device('continue', (req, res) => {
      let body = '';
      req.setEncoding('utf8').on('data', (chunk: string) => {
        body += chunk;
      });
      req.on('end', () => res.end(`${req.headers.expect ?? 'no expect'} ${body}`));
    });
    const headers = { host: `continue.${DOMAIN}`, expect: '100-continue', 'content-length': '100000' };
    const req = request({ port: edge.port, host: '127.0.0.1', method: 'PUT', headers, agent: false });
    req.flushHeaders();
    await once(req, 'continue');
    req.end('z'.repeat(100_000));
    const [res] = (await once(req, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of res.setEncoding('utf8')) body += chunk;
    expect(body).toBe(`no expect ${'z'.repeat(100_000)}`);
  });

  it('of a WebSocket pass both ways, the handshake included', async () => {
    const origin = await device('ws', (_req, res) => res.writeHead(426).end());
    origin.server.on('upgrade', (req, socket) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${req.headers['sec-websocket-key']}\r\n\r\nhello`,
      );
      socket.on('data', (chunk) => (String(chunk) === 'end' ? socket.end('bye') : socket.write(`>${chunk}`)));
    });
    const headers = { host: `ws.${DOMAIN}`, connection: 'keep-alive, Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'k' };
    const req = request({ port: edge.port, host: '127.0.0.1', headers, agent: false }).end();
    const [res, socket, head] = await once(req, 'upgrade');
    expect(res.headers).toMatchObject({ upgrade: 'websocket', 'sec-websocket-accept': 'k' });
    let text = String(head);
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await until('the greeting', () => text === 'hello');
    socket.write('ping');
    await until('the echo', () => text === 'hello>ping');
    socket.write('end');
    await until('the farewell', () => text === 'hello>pingbye');
    socket.destroy();
  });

  it('of HTTP/2 cannot be smuggled in by an upgrade', async () => {
    await device('h2c', echo);
    const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' };
    const answer = await edge.ask({ host: `h2c.${DOMAIN}`, headers });
    expect(answer.status).toBe(200);
    expect(JSON.parse(answer.body).headers.upgrade).toBeUndefined();
  });
});

it('nothing of this is an error in the log', () => {
  expect(edge.errorLog()).not.toMatch(/\[(error|crit|alert|emerg)\]|lua/i);
});

it('the access log tells it all and neither queries nor tokens', async () => {
  await device('logged', echo);
  const answer = await edge.ask({
    host: `logged.${DOMAIN}`,
    path: '/page?token=topsecret',
    headers: { authorization: 'Bearer topsecret', cookie: 'topsecret' },
  });
  const visitor = answer.headers['culvert-visitor'];
  const [line] = await edge.accessLog(1, (entry) => entry.visitor === visitor);
  expect(line).toMatchObject({
    host: `logged.${DOMAIN}`,
    device: 'logged',
    path: '/page',
    status: 200,
    outcome: 'ok',
    attempts: 0,
  });
  expect(JSON.stringify(line)).not.toContain('topsecret');
});
