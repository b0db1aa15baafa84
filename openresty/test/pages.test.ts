import { once } from 'node:events';
import { request } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DOMAIN, Origin, rawOrigin, SECRET, TestEdge, TestRedis, until } from './support.ts';

let redis: TestRedis;
let edge: TestEdge;

beforeAll(async () => {
  redis = await TestRedis.start();
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`);
});
afterAll(async () => {
  await edge?.stop();
  await redis?.stop();
});

const SINCE = Date.UTC(2026, 0, 2, 3, 4, 5, 678);

describe('the page of a device that is offline', () => {
  beforeAll(() => redis.route('asleep', { state: 'grace', since: String(SINCE), address: '127.0.0.1:1' }));

  it('says so and since when, in HTML', async () => {
    const answer = await edge.ask({
      host: `asleep.${DOMAIN}`,
      headers: { accept: 'text/html,application/json;q=0.9,*/*;q=0.8' },
    });
    expect(answer.status).toBe(503);
    expect(answer.headers).toMatchObject({ 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(answer.body).toContain('offline');
    expect(answer.body).toMatch(
      /<time datetime="2026-01-02T03:04:05.678Z">2 January 2026, 03:04:05 UTC<\/time> \(for \d+ (day|hour|minute|second)s?\)/,
    );
    expect(answer.body).not.toMatch(/src=|href=|127\.0\.0\.1|nginx/);
  });

  it('is JSON where the client prefers JSON', async () => {
    const ask = (accept: string) => edge.ask({ host: `asleep.${DOMAIN}`, headers: { accept } });
    const answer = await ask('application/json');
    expect(answer.status).toBe(503);
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'device_offline', since: '2026-01-02T03:04:05.678Z' });
    expect((await ask('text/html;q=0.5, application/problem+json')).headers['content-type']).toBe('application/json');
    expect((await ask('*/*')).headers['content-type']).toContain('text/html');
    expect((await ask('application/json;q=0, text/html;q=0.1')).headers['content-type']).toContain('text/html');
  });

  it('has no body for HEAD and the same headers', async () => {
    const answer = await edge.ask({ host: `asleep.${DOMAIN}`, method: 'HEAD' });
    expect(answer).toMatchObject({ status: 503, body: '' });
    expect(Number(answer.headers['content-length'])).toBeGreaterThan(500);
  });

  it('comes at once even to an upload, whose bytes are never taken for a request', async () => {
    const smuggled = `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`;
    const next = `GET /next HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n\r\n`;
    const text = await edge.raw(
      `POST / HTTP/1.1\r\nHost: asleep.${DOMAIN}\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}${next}`,
    );
    expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 503', 'HTTP/1.1 404']);
  });
});

describe('a name', () => {
  it('that nobody has gets a 404 page, and the device as soon as there is one', async () => {
    const host = `late.${DOMAIN}`;
    const missing = await edge.ask({ host });
    expect(missing.status).toBe(404);
    expect(missing.body).toContain('No device has this name');
    const origin = await Origin.start((_req, res) => res.end('here'));
    await redis.route('late', { address: origin.address });
    await until('the new device answers', async () => (await edge.ask({ host })).body === 'here');
    await redis.route('late', { state: 'grace', since: String(SINCE) });
    await until('it is offline', async () => (await edge.ask({ host })).status === 503);
    await redis.route('late', { address: origin.address, state: 'reconnecting' });
    await until('it is held by the listener', async () => (await edge.ask({ host })).body === 'here');
    await redis.client.multi().del(`route:${host}`).publish('route.changed', host).exec();
    await until('its lease has expired', async () => (await edge.ask({ host })).status === 404);
    await origin.stop();
  });

  it.each([
    ['an IPv4 address', '127.0.0.1', 404],
    ['an IPv6 address', '[::1]:80', 404],
    ['the bare domain', DOMAIN, 200],
    ['the bare domain with port and dot', `${DOMAIN.toUpperCase()}.:8080`, 200],
    ['another domain', 'example.org', 404],
    ['two labels below the domain', `a.b.${DOMAIN}`, 404],
    ['punycode of no device', `xn--mnchen-3ya.${DOMAIN}`, 404],
    ['a name of 300 characters', `${'a.'.repeat(144)}${DOMAIN}`, 400],
    ['a label of 64 characters', `${'a'.repeat(64)}.${DOMAIN}`, 400],
    ['an underscore', `a_b.${DOMAIN}`, 400],
    ['an empty label', `a..${DOMAIN}`, 400],
    ['a hyphen in front', `-a.${DOMAIN}`, 400],
    ['a glob', `*.${DOMAIN}`, 400],
    ['bytes above ASCII', `m\u00fcnchen.${DOMAIN}`, 400],
    ['markup', `<script>.${DOMAIN}`, 400],
    ['a slash', `a/b.${DOMAIN}`, 400],
    ['a blank', `a b.${DOMAIN}`, 400],
    ['nothing', '', 400],
  ])('that is %s gets a page with the right status', async (_what, host, status) => {
    const text = await edge.raw(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    expect(text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(text).toContain('<!doctype html>');
    expect(text).toMatch(/\r\nCulvert-Visitor: [0-9a-f]{32}\r\n/);
    expect(text).not.toMatch(/<script>|<center>/);
  });

  it('may end with a dot', async () => {
    const origin = await Origin.start((req, res) => res.end(req.headers.host));
    await redis.route('dot', { address: origin.address });
    expect((await edge.ask({ host: `dot.${DOMAIN}.:80` })).body).toBe(`dot.${DOMAIN}.:80`);
    await origin.stop();
  });
});

describe('a request that tries to be two', () => {
  it.each([
    ['has no Host', 'GET / HTTP/1.1\r\n\r\n'],
    ['has no Host, in HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n'],
    ['has two Hosts', `GET / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nHost: b.${DOMAIN}\r\n\r\n`],
    [
      'names another host in its first line',
      `GET http://a.${DOMAIN}/ HTTP/1.1\r\nHost: b.${DOMAIN}\r\nConnection: close\r\n\r\n`,
    ],
    ['has two lengths', `POST / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx`],
    [
      'has a length and is chunked',
      `POST / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    ],
    ['has an unknown coding', `POST / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nTransfer-Encoding: xchunked\r\nConnection: close\r\n\r\n`],
    ['has a bare CR in a header', `GET / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nX: a\rHost: b\r\n\r\n`],
    ['has a NUL in a header', `GET / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nX: a\0b\r\n\r\n`],
    ['has headers of 40 KiB', `GET / HTTP/1.1\r\nHost: a.${DOMAIN}\r\nX: ${'x'.repeat(40_000)}\r\n\r\n`],
    ['has a path of 40 KiB', `GET /${'x'.repeat(40_000)} HTTP/1.1\r\nHost: a.${DOMAIN}\r\n\r\n`],
    ['climbs out of the root', `GET /../../etc HTTP/1.1\r\nHost: a.${DOMAIN}\r\n\r\n`],
    ['is no HTTP at all', '\x16\x03\x01\x02\x00\x01\x00\r\n\r\n'],
    ['is of a version to come', `GET / HTTP/9.9\r\nHost: a.${DOMAIN}\r\n\r\n`],
  ])('and %s is refused with a page', async (_what, text) => {
    await redis.route('a', { state: 'grace', since: String(SINCE) });
    const answer = await edge.raw(text);
    expect(answer).toMatch(/^HTTP\/1\.[01] 400 /);
    expect(answer.match(/HTTP\/1\.[01] \d/g)).toHaveLength(1);
    expect(answer).toContain('<!doctype html>');
    expect(answer).not.toContain('nginx</center>');
  });

  it('cannot name the internal pages', async () => {
    const text = await edge.raw(`GET //culvert-fault HTTP/1.1\r\nHost: a.${DOMAIN}\r\nConnection: close\r\n\r\n`);
    expect(text).toContain('offline'); // it is a path of the device like any other
  });
});

describe('an outcome that the listener reports', () => {
  const answerOf = (headers: string) => async (label: string) => {
    const origin = await rawOrigin((socket) => {
      socket.once('data', () =>
        socket.end(`HTTP/1.1 502 Bad Gateway\r\n${headers}Content-Length: 0\r\nConnection: close\r\n\r\n`),
      );
    });
    await redis.route(label, { address: origin.address });
    return origin;
  };

  it.each([
    ['local_refused', 502, 'refuses connections'],
    ['local_timeout', 504, 'did not answer in time'],
    ['dial_timeout', 504, 'did not open the way'],
    ['busy', 503, 'as many visitors as it can take'],
    ['not_allowed', 502, 'does not let visitors'],
    ['device_offline', 503, 'is not connected'],
    ['internal', 502, 'on our side'],
    ['never_heard_of', 502, 'on our side'],
  ])('%s becomes a page with status %i', async (outcome, status, text) => {
    const origin = await answerOf(`Culvert-Outcome: ${outcome}\r\nCulvert-Secret: ${SECRET}\r\n`)(outcome.replaceAll('_', '-'));
    const host = `${outcome.replaceAll('_', '-')}.${DOMAIN}`;
    const answer = await edge.ask({ host });
    expect(answer.status).toBe(status);
    expect(answer.body).toContain(text);
    expect(answer.body).toContain('</html>');
    expect(answer.headers['culvert-outcome'] ?? answer.headers['culvert-secret']).toBeUndefined();
    expect(answer.headers['retry-after'] !== undefined).toBe(status === 503);
    const json = await edge.ask({ host, headers: { accept: 'application/json' } });
    expect(JSON.parse(json.body).code).toBe(outcome === 'never_heard_of' ? 'internal' : outcome);
    expect(await edge.ask({ host, method: 'HEAD' })).toMatchObject({ status, body: '' });
    await origin.stop();
  });

  it('reaches a visitor who is still uploading', async () => {
    const origin = await rawOrigin((socket) => {
      socket.once('data', () => {
        socket.write(
          `HTTP/1.1 502 Bad Gateway\r\nCulvert-Outcome: local_refused\r\nCulvert-Secret: ${SECRET}\r\n` +
            'Content-Length: 0\r\nConnection: close\r\n\r\n',
        );
        socket.resume(); // as the listener does: a reset could overtake the answer
      });
    });
    await redis.route('uploading', { address: origin.address });
    const socket = connect(edge.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(`PUT / HTTP/1.1\r\nHost: uploading.${DOMAIN}\r\nContent-Length: 100000000\r\n\r\n`);
    socket.write(Buffer.alloc(500_000));
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await until('the page is there', () => text.includes('</html>'));
    expect(text).toMatch(/^HTTP\/1\.1 502 [\s\S]*refuses connections/);
    socket.destroy();
    await origin.stop();
  });

  it('counts only with the secret', async () => {
    const origin = await answerOf('Culvert-Outcome: busy\r\nCulvert-Secret: a secret of the test and of nobody els_\r\n')('liar');
    const answer = await edge.ask({ host: `liar.${DOMAIN}` });
    expect(answer).toMatchObject({ status: 502, body: '' });
    expect(answer.headers['culvert-outcome']).toBeUndefined();
    await origin.stop();
  });
});

describe('a device that breaks off', () => {
  it('before its answer gets the visitor a page, and the request is not sent again', async () => {
    let requests = 0;
    const origin = await rawOrigin((socket) => {
      socket.once('data', () => {
        requests += 1;
        socket.destroy();
      });
    });
    await redis.route('broken', { address: origin.address });
    const answer = await edge.ask({ host: `broken.${DOMAIN}`, headers: { accept: 'application/json' } });
    expect(answer.status).toBe(502);
    expect(JSON.parse(answer.body).code).toBe('peer_reset');
    expect(requests).toBe(1);
    await origin.stop();
  });

  it('with nonsense gets the visitor a page', async () => {
    const origin = await rawOrigin((socket) => socket.once('data', () => socket.end('SSH-2.0-OpenSSH_9.2\r\n')));
    await redis.route('nonsense', { address: origin.address });
    const answer = await edge.ask({ host: `nonsense.${DOMAIN}` });
    expect(answer.status).toBe(502);
    expect(answer.body).toContain('</html>');
    await origin.stop();
  });

  it('in the middle breaks the visitor off, rather than ending well', async () => {
    const origin = await rawOrigin((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n', () => socket.destroySoon());
      });
    });
    await redis.route('half', { address: origin.address });
    const socket = connect(edge.port, '127.0.0.1');
    socket.write(`GET / HTTP/1.1\r\nHost: half.${DOMAIN}\r\n\r\n`);
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await once(socket, 'end');
    expect(text).toContain('hello');
    expect(text).not.toMatch(/\r\n0\r\n\r\n$/);
    await origin.stop();
  });
});

describe('a device that takes a request and says nothing', () => {
  it('gets a 504 page after EDGE_ANSWER_MS, but event streams and upgrades may be silent', async () => {
    const impatient = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { EDGE_ANSWER_MS: 300 });
    const mute = await rawOrigin(() => {});
    const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n';
    const upgraded = await rawOrigin((socket) => void socket.once('data', () => socket.write(switching)));
    try {
      await redis.route('mute', { address: mute.address });
      await redis.route('upgraded', { address: upgraded.address });
      const host = `mute.${DOMAIN}`;
      const answer = await impatient.ask({ host, headers: { accept: 'application/json' } });
      expect(answer.status).toBe(504);
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'local_timeout' });
      const stream = impatient.ask({ host, headers: { accept: 'text/event-stream' } }).then(({ status }) => status);
      const headers = { host: `upgraded.${DOMAIN}`, connection: 'Upgrade', upgrade: 'websocket' };
      const upgrade = request({ port: impatient.port, host: '127.0.0.1', headers, agent: false }).end();
      const [, socket] = await once(upgrade, 'upgrade');
      const closed = once(socket.resume(), 'close').then(() => 'closed');
      const longer = new Promise((done) => setTimeout(done, 1_200, 'still silent'));
      expect(await Promise.race([stream.catch(() => 'broken'), closed, longer])).toBe('still silent');
      socket.destroy();
    } finally {
      await upgraded.stop();
      await mute.stop();
      await impatient.stop();
    }
  });
});
