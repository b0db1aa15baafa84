import { request } from 'node:http';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DOMAIN, freePort, Origin, TestEdge, TestRedis, until } from './support.ts';

const PASSWORD = 'p:a@s/s%';
const LONG_AGE = { ROUTE_AGE_MS: 60_000, ROUTE_STALE_MS: 120_000 };

let redis: TestRedis;
let edge: TestEdge;
let origin: Origin;

beforeAll(async () => {
  redis = await TestRedis.start();
});
afterAll(() => redis?.stop());
beforeEach(async () => {
  origin = await Origin.start((_req, res) => res.end('here'));
});
afterEach(async () => {
  await edge?.stop();
  await origin.stop();
});

const start = async (limits = {}, workers = 2): Promise<void> => {
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}/0`, limits, workers);
};
const status = async (label: string): Promise<number> => (await edge.ask({ host: `${label}.${DOMAIN}` })).status;
/** Changes are only heard once both workers have subscribed. */
const heard = (n: number) =>
  until('all workers listen', async () => (await redis.client.pubsub('NUMSUB', 'route.changed'))[1] === n);

describe('a change', () => {
  it('shows at once, in every worker, long before the age of a route is over', async () => {
    await start(LONG_AGE);
    await heard(2);
    await redis.route('quick', { address: origin.address });
    for (let i = 0; i < 6; i += 1) expect(await status('quick')).toBe(200);
    await redis.route('quick', { state: 'grace' });
    await until('it is offline', async () => (await status('quick')) === 503);
    for (let i = 0; i < 6; i += 1) expect(await status('quick')).toBe(503);
  });

  it('shows by age where nobody announces it', async () => {
    await start({ ROUTE_AGE_MS: 100 });
    await redis.route('aged', { address: origin.address });
    expect(await status('aged')).toBe(200);
    await redis.client.hset(`route:aged.${DOMAIN}`, 'state', 'grace');
    await until('it is offline', async () => (await status('aged')) === 503);
  });

  it('is heard again after Redis was away', async () => {
    await start(LONG_AGE, 1);
    await heard(1);
    await redis.kill();
    await redis.up();
    await heard(1);
    await redis.route('again', { address: origin.address });
    expect(await status('again')).toBe(200);
    await redis.route('again', { state: 'grace' });
    await until('it is offline', async () => (await status('again')) === 503);
  });

  it('needs user, password and database of the address, decoded', async () => {
    await redis.client.acl('SETUSER', 'edge', 'on', `>${PASSWORD}`, '~*', '&*', '+@all');
    await redis.client.select(3);
    await redis.client.set('store:incarnation', 'x'); // each database has its own
    try {
      edge = await TestEdge.start(`redis://edge:${encodeURIComponent(PASSWORD)}@localhost:${redis.port}/3`, LONG_AGE, 1);
      await redis.route('db', { address: origin.address });
      await until('it answers', async () => (await status('db')) === 200);
      expect(await edge.health()).toMatchObject({ redis: 'up' });
    } finally {
      await redis.client.select(0);
    }
  });
});

describe('without Redis', () => {
  afterEach(() => redis.up());

  it('known routes go on serving, unknown names are told to wait, and all is well when it is back', async () => {
    await start({ ROUTE_AGE_MS: 100 });
    await redis.route('known', { address: origin.address });
    expect(await status('known')).toBe(200);
    // The announcement of the route may come behind the first request, and drops what that one has brought: let it come.
    await new Promise((done) => setTimeout(done, 800));
    expect(await status('known')).toBe(200);
    await redis.kill();
    await until('it is known to be away', async () => (await edge.health()).redis === 'away');
    for (let i = 0; i < 10; i += 1) expect(await status('known')).toBe(200);
    const unknown = await edge.ask({ host: `unknown.${DOMAIN}` });
    expect(unknown.status).toBe(503);
    expect(Number(unknown.headers['retry-after'])).toBeGreaterThan(0);
    await redis.up();
    await until('it is known to be back', async () => (await edge.health()).redis === 'up');
    await until('it asks again', async () => (await status('unknown')) === 404);
    // That Redis was killed with a question unread nginx itself says, if it was: there is no switch for that.
    const log = edge
      .errorLog()
      .replace(/\[error\] .* recv\(\) failed \(104: Connection reset by peer\), context: ngx\.timer/g, '');
    expect(log).not.toMatch(/\[(error|crit|alert|emerg)\]/);
  });

  it('a route past its time is not served', async () => {
    await start({ ROUTE_AGE_MS: 100, ROUTE_STALE_MS: 1000 });
    await redis.route('old', { address: origin.address });
    expect(await status('old')).toBe(200);
    await new Promise((done) => setTimeout(done, 800));
    expect(await status('old')).toBe(200);
    await redis.kill();
    await until('it is too old', async () => (await status('old')) === 503);
  });
});

it('a Redis that hangs delays one visitor a second, not all of them', async () => {
  await start({ ROUTE_AGE_MS: 100, EDGE_STORE_MS: 300 }, 1);
  await redis.route('hang', { address: origin.address });
  expect(await status('hang')).toBe(200);
  redis.signal('SIGSTOP');
  try {
    await until('it is known to be away', async () => (await edge.health()).redis === 'away');
    const answers = await Promise.all(Array.from({ length: 50 }, () => status('hang')));
    expect(new Set(answers)).toEqual(new Set([200]));
  } finally {
    redis.signal('SIGCONT');
  }
});

describe('a listener that refuses connections', () => {
  it('is tried again until it is back', async () => {
    await start({ EDGE_RETRY_MS: 20_000 });
    const port = await freePort();
    await redis.route('restart', { address: `127.0.0.1:${port}` });
    const waiting = [
      edge.ask({ host: `restart.${DOMAIN}` }),
      edge.ask({ host: `restart.${DOMAIN}`, method: 'POST', body: 'a form' }),
    ];
    await until('both were refused', () => (edge.errorLog().match(/Connection refused/g) ?? []).length >= 2);
    const back = await Origin.start((req, res) => req.pipe(res), port);
    const [get, post] = await Promise.all(waiting);
    expect(get?.status).toBe(200);
    expect(post).toMatchObject({ status: 200, body: 'a form' });
    const lines = await edge.accessLog(2, (line) => line.device === 'restart');
    expect(lines.every((line) => Number(line.attempts) > 0 && line.outcome === 'ok')).toBe(true);
    await back.stop();
  });

  it('is tried again with what was sent into a kept connection just as it closed, unless it must not be sent twice', async () => {
    await start({ EDGE_RETRY_MS: 20_000 }, 1);
    let asked = 0;
    const leaving = await Origin.start((req, res) => {
      asked += 1;
      if (asked === 1) return void res.end('first');
      leaving.server.close(); // its port first, then the connections, as a listener that winds down
      setTimeout(() => req.socket.destroy(), 50);
    });
    const port = leaving.port;
    await redis.route('leaving', { address: leaving.address });
    expect((await edge.ask({ host: `leaving.${DOMAIN}` })).body).toBe('first');
    const second = edge.ask({ host: `leaving.${DOMAIN}` });
    await until('it was refused', () => edge.errorLog().includes('Connection refused'));
    const back = await Origin.start((_req, res) => res.end('second'), port);
    expect(await second).toMatchObject({ status: 200, body: 'second' });
    await back.stop();
  });

  it('is followed to where its devices have moved, although the cached route is young', async () => {
    await start({ ...LONG_AGE, EDGE_RETRY_MS: 5000 });
    await redis.route('moving', { address: origin.address });
    expect(await status('moving')).toBe(200);
    const other = await Origin.start((_req, res) => res.end('there'));
    await origin.stop();
    // Nobody announces it: the refused connection alone makes the edge look.
    await redis.client.hset(`route:moving.${DOMAIN}`, 'address', other.address);
    await until('both workers follow', async () => (await edge.ask({ host: `moving.${DOMAIN}` })).body === 'there');
    await other.stop();
  });

  it('gets its visitors served by the one that stands in, in this tenure only, and serves them itself when nobody does', async () => {
    await start(LONG_AGE);
    await heard(2);
    await redis.route('stood', { address: origin.address });
    const other = await Origin.start((_req, res) => res.end('other'));
    const host = `stood.${DOMAIN}`;
    const said = async (text: string | null): Promise<string> => {
      if (text === null) await redis.client.del(`standin:${host}`);
      else await redis.client.set(`standin:${host}`, text);
      await redis.client.publish('route.changed', host);
      return (await edge.ask({ host })).body;
    };
    const becomes = (text: string | null, body: string): Promise<unknown> =>
      until(`${body} answers`, async () => (await said(text)) === body);
    await becomes(`7 ${other.address} tcp-listener-2`, 'other');
    await becomes(`6 ${other.address} tcp-listener-2`, 'here'); // of the tenure before
    await becomes(`7 ${other.address} tcp-listener-2`, 'other');
    await origin.stop(); // it is being started again
    expect(await edge.ask({ host, method: 'POST', body: 'x' })).toMatchObject({ status: 200, body: 'other' });
    origin = await Origin.start((_req, res) => res.end('here'), origin.port);
    await other.stop(); // and the other one may go before anybody has said so
    expect(await edge.ask({ host, method: 'POST', body: 'x' })).toMatchObject({ status: 200, body: 'here' });
    await becomes('nonsense', 'here');
    await becomes(null, 'here');
  });

  it('gets the visitor a page when the time is over', async () => {
    await start({ EDGE_RETRY_MS: 200 });
    await redis.route('gone', { address: `127.0.0.1:${await freePort()}` });
    const answer = await edge.ask({ host: `gone.${DOMAIN}` });
    expect(answer.status).toBe(503);
    expect(answer.body).toContain('</html>');
    const [line] = await edge.accessLog(1, (entry) => entry.device === 'gone');
    expect(line).toMatchObject({ attempts: 8, outcome: 'unavailable' });
  });

  it('gets a large upload a page at once: it cannot be sent twice', async () => {
    await start({ EDGE_RETRY_MS: 60_000 });
    await redis.route('upload', { address: `127.0.0.1:${await freePort()}` });
    const answer = await edge.ask({ host: `upload.${DOMAIN}`, method: 'PUT', body: Buffer.alloc(100_000) });
    expect(answer.status).toBe(503);
  });

  it('gets the offline page when the device has gone meanwhile', async () => {
    await start({ EDGE_RETRY_MS: 20_000 });
    await redis.route('left', { address: `127.0.0.1:${await freePort()}` });
    const waiting = edge.ask({ host: `left.${DOMAIN}`, headers: { accept: 'application/json' } });
    await until('it was refused', () => edge.errorLog().includes('Connection refused'));
    await redis.route('left', { state: 'grace' });
    expect(JSON.parse((await waiting).body).code).toBe('device_offline');
  });
});

it('a visitor who hangs up while the edge tries again is let go', async () => {
  await start({ EDGE_RETRY_MS: 1000 });
  await redis.route('impatient', { address: `127.0.0.1:${await freePort()}` });
  const req = request({ port: edge.port, host: '127.0.0.1', headers: { host: `impatient.${DOMAIN}` }, agent: false });
  req.on('error', () => {});
  req.end();
  await until('it was refused', () => edge.errorLog().includes('Connection refused'));
  req.destroy();
  await edge.accessLog(1, (line) => line.device === 'impatient');
  expect(edge.errorLog()).not.toMatch(/\[(crit|alert|emerg)\]|lua/);
});
