import { BlockList } from 'node:net';
import type { AuditEntry } from '@culvert/bus';
import { DEFAULT_LIMITS } from '@culvert/contracts';
import { createLogger, digestOf } from '@culvert/service-kit';
import type { FastifyInstance } from 'fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Stack, until } from '../../lease-manager/test/stack.ts';
import { buildServer } from '../src/server.ts';

const ROOT = 'the-token-of-the-operator-root';
const log = createLogger('admin', 'admin-1', 'silent');

let stack: Stack;
let app: FastifyInstance;
let url: string;
const routes: { method: string; url: string; role: string | undefined }[] = [];

beforeAll(async () => {
  stack = await Stack.start({ SWEEP_MS: 100, RECOVERY_MS: 500 });
  await stack.service('lease-manager');
  const limits = { ...DEFAULT_LIMITS, RECHECK_MS: 60_000, FAILED_TOKENS_PER_ADDRESS: 100_000 };
  app = await buildServer({
    ...{ bus: stack.bus, log, id: 'admin-1', token: ROOT, limits },
    side: { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' },
    onRoute: (route) => routes.push(route),
  });
  url = await app.listen({ host: '127.0.0.1', port: 0 });
}, 60_000);

afterAll(async () => {
  await app?.close();
  await stack?.stop();
});

interface Answer {
  status: number;
  body: Record<string, unknown>;
  headers: Headers;
}
async function call(
  token: string,
  method: string,
  path: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(url + path, {
    method,
    headers: {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...more,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, body: text.startsWith('{') ? JSON.parse(text) : {} };
}
const added = async (name: string, role: string): Promise<string> => {
  const { status, body } = await call(ROOT, 'POST', '/v1/operators', { name, role });
  expect([status, body.name, body.role]).toEqual([201, name, role]);
  return body.token as string;
};
const audited = async (query: string): Promise<AuditEntry[]> => {
  const { status, body } = await call(ROOT, 'GET', `/v1/audit?${query}`);
  expect(status).toBe(200);
  return body.entries as AuditEntry[];
};
/** Every operation of the API, with something in place of its parameters. */
const operations = () =>
  routes
    .filter(({ url: path, method }) => path.startsWith('/v1') && method !== 'HEAD')
    .map(({ method, url: path, role }) => ({ method, role, path: path.replaceAll(/:(\w+)/g, 'nobody') }));

describe('operators', () => {
  it('are refused without a token on every route that does not say that it is open', async () => {
    expect(operations().length).toBeGreaterThan(10);
    for (const { method, path, role } of operations()) {
      if (role === 'open') continue;
      for (const token of ['', 'wrong', ROOT.slice(1)])
        expect([method, path, (await call(token, method, path)).status]).toEqual([method, path, 401]);
    }
  });

  it('may do what their role allows and nothing else, on every route', async () => {
    const tokens = { viewer: await added('vera', 'viewer'), operator: await added('otto', 'operator') };
    const order = ['open', 'viewer', 'operator', 'admin'];
    for (const [role, token] of Object.entries(tokens)) {
      for (const { method, path, role: wanted = 'admin' } of operations()) {
        if (order.indexOf(wanted) <= order.indexOf(role)) continue;
        const { status, body } = await call(token, method, path);
        expect([method, path, status, body.code]).toEqual([method, path, 403, 'forbidden']);
      }
      expect((await call(token, 'GET', '/v1/devices')).status).toBe(200);
    }
    expect((await call(tokens.operator, 'POST', '/v1/devices', { name: 'alice' })).status).toBe(201);
  });

  it('cannot get past the check by writing the path in another way', async () => {
    for (const path of [
      '/%761/devices',
      '/v1%2Fdevices',
      '//v1/devices',
      '/V1/devices',
      '/v1/./devices',
      '/v1;x/devices',
      '/docs/../v1/devices',
    ]) {
      const answer = await app.inject({ method: 'GET', url: path });
      expect([path, [401, 404].includes(answer.statusCode)]).toEqual([path, true]);
    }
  });

  it('are out at the next request once they are removed, and a running feed ends', async () => {
    const token = await added('ruth', 'viewer');
    const feed = await fetch(`${url}/v1/events`, { headers: { authorization: `Bearer ${token}` } });
    const ended = (async () => {
      for await (const _ of feed.body ?? []) {
        // until it ends, in whatever way
      }
    })().catch(() => {});
    expect((await call(ROOT, 'DELETE', '/v1/operators/ruth')).status).toBe(200);
    expect((await call(token, 'GET', '/v1/devices')).status).toBe(401);
    await ended;
    expect((await call(ROOT, 'DELETE', '/v1/operators/ruth')).status).toBe(404);
  });

  it('get a new token, and the former is dead', async () => {
    const former = await added('rita', 'viewer');
    const { status, body } = await call(ROOT, 'POST', '/v1/operators/rita/token');
    expect(status).toBe(201);
    expect((await call(former, 'GET', '/v1/devices')).status).toBe(401);
    expect((await call(body.token as string, 'GET', '/v1/devices')).status).toBe(200);
  });

  it('are stored by the digests of their tokens only', async () => {
    const token = await added('dora', 'viewer');
    expect(token).toMatch(/^cvo_dora\.[\w-]{43}_[0-9a-z]{7}$/);
    const all = await stack.redis.hgetall('kept:operator:dora');
    expect(all.value).toContain(digestOf(token));
    expect(all.value).not.toContain(token.slice(10, 40));
  });

  it('cannot be added twice, under no name, or as root', async () => {
    await added('tim', 'viewer');
    expect((await call(ROOT, 'POST', '/v1/operators', { name: 'tim', role: 'admin' })).status).toBe(409);
    expect((await call(ROOT, 'POST', '/v1/operators', { name: 'root', role: 'admin' })).status).toBe(409);
    expect((await call(ROOT, 'POST', '/v1/operators', { name: 'T.M', role: 'admin' })).status).toBe(400);
    expect((await call(ROOT, 'POST', '/v1/operators', { name: 'tom', role: 'king' })).status).toBe(400);
  });

  it('survive the loss of the store', async () => {
    const token = await added('lena', 'operator');
    await stack.redis.flushall();
    let status = 0;
    await until(async () => {
      ({ status } = await call(token, 'GET', '/v1/devices'));
      return status === 200;
    }, 30_000);
    expect((await call(token, 'GET', '/v1/operators')).status).toBe(403);
  });
});

describe('a login', () => {
  const logIn = async (token: string): Promise<string> => {
    const { status, headers } = await call('', 'POST', '/v1/login', { token });
    expect(status).toBe(200);
    const cookie = headers.get('set-cookie') ?? '';
    expect(cookie).toMatch(/^culvert_login=cvl_[^;]+; HttpOnly; SameSite=Strict; Path=\/; Max-Age=43200$/);
    return cookie.split(';')[0] ?? '';
  };

  it('lets a browser read by its cookie, and write only with a header that no other site can add', async () => {
    const cookie = await logIn(ROOT);
    expect((await call('', 'GET', '/v1/login', undefined, { cookie })).body).toEqual({ name: 'root', role: 'admin' });
    expect((await call('', 'POST', '/v1/devices', { name: 'forged' }, { cookie })).body).toMatchObject({ code: 'forbidden' });
    expect((await call('', 'POST', '/v1/devices', { name: 'mine' }, { cookie, 'culvert-request': '1' })).status).toBe(201);
    expect((await call('', 'DELETE', '/v1/login', undefined, { cookie, 'culvert-request': '1' })).body).toEqual({ ended: true });
    expect((await call('', 'GET', '/v1/login', undefined, { cookie })).status).toBe(401);
  });

  it('is over when its operator gets a new token', async () => {
    const cookie = await logIn(await added('nora', 'viewer'));
    expect((await call('', 'GET', '/v1/devices', undefined, { cookie })).status).toBe(200);
    await call(ROOT, 'POST', '/v1/operators/nora/token');
    expect((await call('', 'GET', '/v1/devices', undefined, { cookie })).status).toBe(401);
  });

  it('is refused with a wrong token', async () => {
    for (const token of ['x', ROOT.toUpperCase(), `cvo_root.${'a'.repeat(43)}_0000000`]) {
      const { status, headers } = await call('', 'POST', '/v1/login', { token });
      expect([status, headers.get('set-cookie')]).toEqual([401, null]);
    }
  });
});

describe('the audit log', () => {
  it('says from where: what the edge saw, and what the client itself tells of others is left out', async () => {
    const told = { 'x-forwarded-for': '203.0.113.9, 198.51.100.7' };
    await call(ROOT, 'POST', '/v1/devices', { name: 'afar' }, told);
    expect((await audited('object=afar'))[0]).toMatchObject({ from: '198.51.100.7' });
    await call(ROOT, 'POST', '/v1/devices', { name: 'near' });
    expect((await audited('object=near'))[0]).toMatchObject({ from: '127.0.0.1' });
    const strict = await buildServer({
      ...{
        bus: {
          ...stack.bus,
          request: stack.bus.request.bind(stack.bus),
          requestOf: stack.bus.requestOf.bind(stack.bus),
          serve: async () => {},
          nc: stack.bus.nc,
        },
      },
      ...{ log, id: 'admin-2', token: ROOT, limits: DEFAULT_LIMITS, edges: new BlockList() },
      side: { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' },
    });
    const headers = { authorization: `Bearer ${ROOT}`, ...told };
    await strict.inject({ method: 'POST', url: '/v1/devices', headers, payload: { name: 'elsewhere' } });
    await strict.close();
    expect((await audited('object=elsewhere'))[0]).toMatchObject({ from: '127.0.0.1' });
  });

  it('has every write before its answer: who, what, to whom, from where and how it ended', async () => {
    const token = await added('anna', 'operator');
    await call(token, 'POST', '/v1/devices', { name: 'audited' });
    await call(token, 'POST', '/v1/devices', { name: 'audited' });
    await call(token, 'POST', '/v1/operators', { name: 'eve', role: 'admin' });
    const entries = await audited('operator=anna');
    expect(entries.map(({ action, object, outcome }) => [action, object, outcome])).toEqual([
      ['operator.add', '', 'forbidden'],
      ['device.add', 'audited', 'already_exists'],
      ['device.add', 'audited', 'ok'],
    ]);
    expect(entries[0]).toMatchObject({ operator: 'anna', role: 'operator', from: '127.0.0.1' });
    expect((await audited('object=anna&action=operator.add'))[0]).toMatchObject({
      operator: 'root',
      detail: { role: 'operator' },
    });
    expect(JSON.stringify(entries)).not.toContain(token.slice(10, 40));
  });

  it('is read page by page, newest first', async () => {
    const all = await audited('limit=1000');
    const first = (await call(ROOT, 'GET', '/v1/audit?limit=3')).body as { entries: AuditEntry[]; cursor: number };
    const second = (await call(ROOT, 'GET', `/v1/audit?limit=3&cursor=${first.cursor}`)).body as { entries: AuditEntry[] };
    expect([...first.entries, ...second.entries]).toEqual(all.slice(0, 6));
  });

  it('cannot be emptied by those who may write it', async () => {
    const { jetstreamManager } = await import('@nats-io/jetstream');
    const jsm = await jetstreamManager(stack.bus.nc);
    await expect(jsm.streams.purge('CULVERT_AUDIT')).rejects.toThrow();
    await expect(jsm.streams.deleteMessage('CULVERT_AUDIT', 1)).rejects.toThrow();
  });
});

describe('an address with too many wrong tokens', () => {
  const MOST = 5;
  it('is let in with those only that were right before, by token, cookie and login alike', async () => {
    const strict = await buildServer({
      ...{ bus: stack.bus, log, id: 'admin-2', token: ROOT, limits: { ...DEFAULT_LIMITS, FAILED_TOKENS_PER_ADDRESS: MOST } },
      side: { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' },
    });
    const ask = (headers: Record<string, string>, from = '192.0.2.1') =>
      strict.inject({ url: '/v1/devices', headers: { ...headers, 'x-forwarded-for': from } });
    const login = (token: string, from = '192.0.2.1') =>
      strict.inject({ method: 'POST', url: '/v1/login', payload: { token }, headers: { 'x-forwarded-for': from } });
    try {
      const known = await added('often', 'viewer');
      const late = await added('rarely', 'viewer');
      expect((await ask({ authorization: `Bearer ${known}` })).statusCode).toBe(200);
      for (let i = 0; i < 10; i += 1) expect((await ask({})).statusCode).toBe(401); // no token at all is no wrong one
      expect((await ask({ authorization: 'Bearer wrong' })).statusCode).toBe(401);
      expect((await ask({ authorization: `Bearer ${known.slice(0, -1)}x` })).statusCode).toBe(401);
      expect((await ask({ cookie: 'culvert_login=wrong' })).statusCode).toBe(401);
      for (let i = 3; i < MOST; i += 1) expect((await login('wrong')).statusCode).toBe(401);
      const refused = await ask({ authorization: `Bearer ${late}` });
      expect(refused.statusCode).toBe(429);
      expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0);
      expect((await login(late)).statusCode).toBe(429);
      expect((await ask({ cookie: 'culvert_login=other' })).statusCode).toBe(429);
      expect((await ask({ authorization: `Bearer ${known}` })).statusCode).toBe(200);
      expect((await login(known)).statusCode).toBe(200);
      expect((await ask({ authorization: `Bearer ${late}` }, '192.0.2.2')).statusCode).toBe(200);
    } finally {
      await strict.close();
    }
  });
});

it('a login cookie counts for the dashboard itself only, though pages of devices may be of the same site', async () => {
  const token = await added('browser', 'operator');
  const { headers } = await call('', 'POST', '/v1/login', { token });
  const cookie = (headers.get('set-cookie') ?? '').split(';')[0] as string;
  const status = async (site: string | undefined, path = '/v1/devices'): Promise<number> =>
    (await call('', 'GET', path, undefined, { cookie, ...(site === undefined ? {} : { 'sec-fetch-site': site }) })).status;
  for (const site of ['same-origin', 'none', undefined]) expect([site, await status(site)]).toEqual([site, 200]);
  for (const site of ['same-site', 'cross-site', 'x']) {
    expect([site, await status(site)]).toEqual([site, 403]);
    expect([site, await status(site, '/v1/open?device=x')]).toEqual([site, 403]);
  }
});

describe('a password', () => {
  const cookieOf = ({ headers }: Answer): Record<string, string> => ({
    cookie: headers.get('set-cookie')?.split(';')[0] ?? '',
    'culvert-request': '1',
  });
  const first = 'correct horse battery';
  const second = 'staple of another horse';

  it('is set by the operator, logs them in with the rights of their role, and is audited without being told', async () => {
    const token = await added('petra', 'operator');
    expect(await call(token, 'PUT', '/v1/login/password', { password: 'short' })).toMatchObject({ status: 400 });
    expect(await call(ROOT, 'PUT', '/v1/login/password', { password: first })).toMatchObject({ status: 409 });
    expect(await call('', 'PUT', '/v1/login/password', { password: first })).toMatchObject({ status: 401 });
    expect(await call(token, 'PUT', '/v1/login/password', { password: first })).toMatchObject({ status: 200 });
    const login = await call('', 'POST', '/v1/login', { name: 'petra', password: first });
    expect(login).toMatchObject({ status: 200, body: { name: 'petra', role: 'operator' } });
    const cookie = cookieOf(login);
    expect((await call('', 'GET', '/v1/login', undefined, cookie)).body).toMatchObject({ name: 'petra' });
    expect((await call('', 'GET', '/v1/operators', undefined, cookie)).status).toBe(403);
    const { body } = await call(ROOT, 'GET', '/v1/audit?object=petra');
    expect((body.entries as { action: string }[]).map(({ action }) => action)).toEqual(
      expect.arrayContaining(['operator.password', 'login.add']),
    );
    expect(JSON.stringify([body, (await call(ROOT, 'GET', '/v1/operators')).body])).not.toContain(first);
    expect(JSON.stringify(await stack.redis.hgetall('kept:operator:petra'))).not.toContain(first);
  });

  it('is refused when it is wrong, for who has none, and half a login too', async () => {
    await added('paul', 'viewer');
    for (const wish of [
      { name: 'petra', password: 'not the right one' },
      { name: 'paul', password: first },
      { name: 'nobody', password: first },
      { name: 'root', password: ROOT },
      { name: 'No Name', password: first },
    ])
      expect(await call('', 'POST', '/v1/login', wish)).toMatchObject({
        ...{ status: 401, body: { detail: 'the name or the password is wrong' } },
      });
    for (const wish of [{}, { name: 'petra' }, { password: first }, { token: ROOT, name: 'petra', password: first }])
      expect(await call('', 'POST', '/v1/login', wish)).toMatchObject({ status: 400 });
  });

  it('is changed by who knows it; other logins by the former one are over, that by the token is not', async () => {
    const [mine, other] = await Promise.all(
      [1, 2].map(async () => cookieOf(await call('', 'POST', '/v1/login', { name: 'petra', password: first }))),
    );
    const stay = (cookie: Record<string, string> | undefined) => call('', 'GET', '/v1/login', undefined, cookie);
    for (const current of [undefined, 'not the right one'])
      expect(
        await call('', 'PUT', '/v1/login/password', { password: second, ...(current === undefined ? {} : { current }) }, mine),
      ).toMatchObject({ status: 403, body: { code: 'forbidden' } });
    const changed = await call('', 'PUT', '/v1/login/password', { password: second, current: first }, mine);
    expect(changed).toMatchObject({ status: 200 });
    expect([(await stay(mine)).status, (await stay(other)).status]).toEqual([200, 401]);
    expect((await call('', 'POST', '/v1/login', { name: 'petra', password: first })).status).toBe(401);
    expect((await call('', 'POST', '/v1/login', { name: 'petra', password: second })).status).toBe(200);
    expect((await call(ROOT, 'POST', '/v1/operators/petra/token')).status).toBe(201);
    expect([(await stay(mine)).status]).toEqual([401]); // with the token goes the password that may have been set by it
    expect((await call('', 'POST', '/v1/login', { name: 'petra', password: second })).status).toBe(401);
  });

  it('cannot be guessed: after ten wrong ones the name is not asked for a while, and the token still works', async () => {
    const token = await added('pia', 'viewer');
    await call(token, 'PUT', '/v1/login/password', { password: first });
    const statuses: number[] = [];
    for (let i = 0; i < 12; i++)
      statuses.push((await call('', 'POST', '/v1/login', { name: 'pia', password: `wrong ${i}` })).status);
    expect(statuses.slice(0, 10)).toEqual(Array(10).fill(401));
    expect(statuses).toContain(429);
    const refused = await call('', 'POST', '/v1/login', { name: 'pia', password: `${first}!` });
    expect([refused.status, Number(refused.headers.get('retry-after')) > 0]).toEqual([429, true]);
    expect((await call('', 'POST', '/v1/login', { token })).status).toBe(200);
    expect((await call(token, 'DELETE', '/v1/login/password')).body).toEqual({ name: 'pia', removed: true });
  });
});
