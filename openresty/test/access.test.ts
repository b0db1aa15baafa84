import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, DOMAIN, Origin, TestEdge, TestRedis, until } from './support.ts';

let redis: TestRedis;
let edge: TestEdge;
let origin: Origin;

const token = (name: string): string => `cvg_${name.padEnd(43, 'x')}_1234567`;
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

beforeAll(async () => {
  redis = await TestRedis.start();
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 2);
  origin = await Origin.start((req, res) => res.end(JSON.stringify({ url: req.url, headers: req.headers })));
  for (const label of ['secret', 'other', 'open']) await redis.route(label, { address: origin.address });
  for (const label of ['secret', 'other']) await say('access', label, { private: true });
});
afterAll(async () => {
  await edge?.stop();
  await origin?.stop();
  await redis?.stop();
});

/** Keeps a record as lease-manager does, and says so; undefined takes it away. */
async function say(collection: string, id: string, value: object | undefined, ttlMs?: number): Promise<void> {
  const key = `kept:${collection}:${id}`;
  const all = redis.client.multi().del(key);
  if (value !== undefined) all.hset(key, { value: JSON.stringify(value), revision: '1' });
  if (ttlMs !== undefined) all.hset(key, 'expires_at', String(Date.now() + ttlMs)).pexpire(key, ttlMs);
  await all.publish('route.changed', `${collection} ${id}`).exec();
}

const grant = (label: string, name: string, more: object = {}, ttlMs = 60_000): Promise<void> =>
  say('grant', `${label}.${digestOf(token(name))}`, more, ttlMs);

const ask = (label: string, path = '/', headers: Record<string, string> = {}): Promise<Answer> =>
  edge.ask({ host: `${label}.${DOMAIN}`, path, headers });

const link = (name: string, to = ''): string =>
  `/.culvert/grant?t=${token(name)}${to === '' ? '' : `&to=${encodeURIComponent(to)}`}`;

/** Opens a link; the cookie that it gave. */
async function enter(label: string, name: string): Promise<string> {
  const answer = await ask(label, link(name));
  expect(answer.status).toBe(303);
  return String(answer.headers['set-cookie']?.[0]).split(';')[0] ?? '';
}

describe('a private page', () => {
  it('is not opened without a grant, and says nothing about the device', async () => {
    const held = await ask('secret', '/x');
    await redis.route('gone', { address: origin.address, state: 'grace' });
    await say('access', 'gone', { private: true });
    const gone = await ask('gone', '/x');
    for (const answer of [held, gone]) {
      expect(answer.status).toBe(403);
      expect(answer.body).toContain('This page is private');
      expect(answer.headers['referrer-policy']).toBe('no-referrer');
    }
    const plain = (answer: Answer): string => answer.body.replace(/[0-9a-f]{32}/, '');
    expect(plain(held)).toBe(plain(gone));
    const json = await ask('secret', '/x', { accept: 'application/json' });
    expect(JSON.parse(json.body).code).toBe('forbidden');
  });

  it('opens with the link of a grant, and the device sees neither cookie nor token', async () => {
    await grant('secret', 'link');
    const answer = await ask('secret', link('link', '/a?b=c'));
    expect(answer.status).toBe(303);
    expect(answer.headers.location).toBe('/a?b=c');
    expect(answer.headers['referrer-policy']).toBe('no-referrer');
    expect(answer.headers['cache-control']).toBe('no-store');
    const [set] = answer.headers['set-cookie'] ?? [];
    expect(set).toMatch(/^culvert-grant=[0-9a-f]{64}\.[\w-]+; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/);
    expect(set).not.toContain(token('link'));
    const cookie = String(set).split(';')[0];
    const page = await ask('secret', '/a', { cookie: `one=1; ${cookie}; two=2` });
    expect(page.status).toBe(200);
    expect(JSON.parse(page.body).headers.cookie).toBe('one=1; two=2');
    const alone = await ask('secret', '/a', { cookie: String(cookie) });
    expect(JSON.parse(alone.body).headers.cookie).toBeUndefined();
    const [line] = await edge.accessLog(1, ({ outcome }) => outcome === 'granted');
    expect(JSON.stringify(line)).not.toContain(token('link'));
    expect(edge.errorLog()).not.toContain(token('link'));
  });

  it('is closed again at the next request when the grant is withdrawn, and when it has run out', async () => {
    await grant('secret', 'brief');
    const cookie = await enter('secret', 'brief');
    expect((await ask('secret', '/', { cookie })).status).toBe(200);
    await say('grant', `secret.${digestOf(token('brief'))}`, undefined);
    await until('it is withdrawn', async () => (await ask('secret', '/', { cookie })).status === 403);
    expect((await ask('secret', link('brief'))).status).toBe(403);
    await grant('secret', 'short', {}, 800);
    const short = await enter('secret', 'short');
    await until('it has run out', async () => (await ask('secret', '/', { cookie: short })).status === 403);
  });

  it("is opened neither by another host's cookie nor by another device's grant nor by one that is made up", async () => {
    await grant('secret', 'mine');
    const cookie = await enter('secret', 'mine');
    expect((await ask('other', '/', { cookie })).status).toBe(403);
    await grant('other', 'mine');
    expect((await ask('other', '/', { cookie })).status).toBe(403);
    expect((await ask('other', link('nobody'))).status).toBe(403);
    const made = [
      cookie.replace(/.$/, (c) => (c === 'A' ? 'B' : 'A')),
      cookie.replace(/\..*/, '.'),
      'culvert-grant=x',
      `culvert-grant=${token('mine')}`,
    ];
    for (const forged of made) expect((await ask('secret', '/', { cookie: forged })).status).toBe(403);
    expect((await ask('secret', '/', { cookie: `culvert-grant=${'0'.repeat(64)}.x; ${cookie}` })).status).toBe(200);
  });

  it('stays closed where the grant is for another host of the device', async () => {
    await grant('secret', 'bound', { host: `elsewhere.${DOMAIN}` });
    expect((await ask('secret', link('bound'))).status).toBe(403);
    await grant('secret', 'here', { host: `secret.${DOMAIN}` });
    expect((await ask('secret', link('here'))).status).toBe(303);
  });

  it('opens once, and soon, with a link that is meant for one use; its cookie lasts', async () => {
    await grant('secret', 'once', { enter_by: Date.now() + 30_000 });
    expect((await edge.ask({ host: `secret.${DOMAIN}`, path: link('once'), method: 'HEAD' })).status).toBe(403);
    const cookie = await enter('secret', 'once');
    expect((await ask('secret', link('once'))).status).toBe(403);
    expect((await ask('secret', '/', { cookie })).status).toBe(200);
    await grant('secret', 'late', { enter_by: Date.now() - 1 });
    expect((await ask('secret', link('late'))).status).toBe(403);
  });

  it.each(['//evil.example', 'https://evil.example', '/\\evil.example', '\\\\evil', '/a\r\nSet-Cookie: x=1', 'x', ''])(
    'leads to no other host: %j',
    async (to) => {
      await grant('secret', 'redirect');
      const answer = await ask('secret', link('redirect', to));
      expect(answer.status).toBe(303);
      expect(answer.headers.location).toBe('/');
      expect(answer.headers['set-cookie']).toHaveLength(1);
    },
  );

  it.each([
    '/%2e%63ulvert/../secret-page',
    '//x',
    '/.culvert/../x',
    '/.culvert%2fgrant',
    '/./x',
    '/v1/control',
    '/v1/transfer/tcp-listener-1/x',
  ])('is not opened by the path %s', async (path) => {
    const before = origin.connections;
    expect([400, 403, 404]).toContain((await ask('secret', path)).status);
    expect(origin.connections).toBe(before);
  });

  it('opens once in all with such a link, however many edges there are and whoever asks at once', async () => {
    const another = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1);
    try {
      await grant('secret', 'race', { enter_by: Date.now() + 30_000 });
      const enterings = [edge, another, edge, another, edge, another].map((one) =>
        one.ask({ host: `secret.${DOMAIN}`, path: link('race') }),
      );
      const statuses = (await Promise.all(enterings)).map(({ status }) => status);
      expect(statuses.sort()).toEqual([303, 403, 403, 403, 403, 403]);
    } finally {
      await another.stop();
    }
  });

  it('may be one of several of its device, by the port of the endpoint', async () => {
    await redis.route('front', { address: origin.address, device: 'shop', port: '80' });
    await redis.route('back', { address: origin.address, device: 'shop', port: '8080' });
    const statuses = async () => [(await ask('front')).status, (await ask('back')).status];
    await say('access', 'shop.8080', { private: true });
    await until('one is closed', async () => (await statuses()).join() === '200,403');
    await say('access', 'shop', { private: true });
    await say('access', 'shop.8080', { private: false });
    await until('the other one is', async () => (await statuses()).join() === '403,200');
    await say('access', 'shop.8080', undefined);
    await until('the device speaks for both', async () => (await statuses()).join() === '403,403');
  });

  it('becomes public, and private again, at once', async () => {
    await say('access', 'other', { private: false });
    await until('it is public', async () => (await ask('other')).status === 200);
    expect((await ask('other', link('whatever', '/x'))).headers.location).toBe('/x');
    await say('access', 'other', { private: true });
    await until('it is private', async () => (await ask('other')).status === 403);
  });
});

it('a public page shows its device no cookie of ours either', async () => {
  const page = await ask('open', '/', { cookie: '__Host-culvert-grant=x.y; a=b; culvert-grant=z' });
  expect(JSON.parse(page.body).headers.cookie).toBe('a=b');
  expect((await ask('open', '/.culvert/other')).status).toBe(404);
});

it('Redis being away neither closes public pages nor opens private ones', async () => {
  const alone = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { ROUTE_AGE_MS: 100 }, 1);
  try {
    await grant('secret', 'away');
    const { headers } = await alone.ask({ host: `secret.${DOMAIN}`, path: link('away') });
    const cookie = String(headers['set-cookie']?.[0]).split(';')[0] ?? '';
    const at = async (label: string, sent = ''): Promise<number> =>
      (await alone.ask({ host: `${label}.${DOMAIN}`, headers: { cookie: sent } })).status;
    expect([await at('open'), await at('secret'), await at('secret', cookie)]).toEqual([200, 403, 200]);
    redis.signal('SIGSTOP');
    await until('redis is known to be away', async () => (await alone.health()).redis === 'away');
    await new Promise((done) => setTimeout(done, 150)); // past the age of what was read
    expect([await at('open'), await at('secret'), await at('secret', cookie)]).toEqual([200, 403, 200]);
    expect(await at('secret', `culvert-grant=${digestOf('x')}.x`)).toBe(403);
  } finally {
    redis.signal('SIGCONT');
    await alone.stop();
  }
});

it('every page is private where the operator says so, and none opens while nobody knows', async () => {
  const strict = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { ROUTE_AGE_MS: 100 }, 1, { access: 'private' });
  try {
    expect((await strict.ask({ host: `open.${DOMAIN}` })).status).toBe(403);
    await say('access', 'open', { private: false });
    await until('it is public', async () => (await strict.ask({ host: `open.${DOMAIN}` })).status === 200);
    await redis.client.hset('kept:access:open', 'value', '"nonsense');
    await redis.client.publish('route.changed', 'access open');
    await until('it is unknown', async () => (await strict.ask({ host: `open.${DOMAIN}` })).status === 503);
  } finally {
    await strict.stop();
    await say('access', 'open', undefined);
  }
});
