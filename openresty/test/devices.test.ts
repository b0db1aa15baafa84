import { once } from 'node:events';
import { request } from 'node:http';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DOMAIN, freePort, Origin, TestEdge, TestRedis, until } from './support.ts';

let redis: TestRedis;
let edge: TestEdge;
const origins: Origin[] = [];

beforeAll(async () => {
  redis = await TestRedis.start();
});
afterAll(() => redis?.stop());
afterEach(async () => {
  await edge?.stop();
  await redis.client.multi().flushall().set('store:incarnation', 'x').exec();
  for (const origin of origins.splice(0)) await origin.stop();
});

/** An instance of ours: says who it is, and what it was asked. */
async function instance(id: string, service: string, extra: Record<string, unknown> = {}): Promise<Origin> {
  const origin = await Origin.start((req, res) => res.end(JSON.stringify({ id, url: req.url, headers: req.headers })));
  origin.server.on('upgrade', (req, socket) => {
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n${req.headers.authorization}`,
    );
    socket.on('data', (chunk) => socket.write(chunk));
  });
  origins.push(origin);
  await redis.instance(id, service, origin.address, extra);
  return origin;
}

const startEdge = async (): Promise<void> => {
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, {}, 1);
};
const control = (host = '127.0.0.1') =>
  edge.ask({ host, path: '/v1/control?name=a&ports=80', headers: { authorization: 'Bearer t' } });

describe('/v1/control', () => {
  it.each(['127.0.0.1', '[::1]:1', DOMAIN, 'edge.example.org', 'odd_name'])('goes to an ingress under host %s', async (host) => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    const answer = await control(host);
    expect(JSON.parse(answer.body)).toMatchObject({
      id: 'ws-ingress-1',
      url: '/v1/control?name=a&ports=80',
      headers: { host, authorization: 'Bearer t', 'x-forwarded-for': '127.0.0.1' },
    });
  });

  it('is a path of the device under its own name', async () => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    const page = await Origin.start((_req, res) => res.end('the page of the device'));
    origins.push(page);
    await redis.route('owner', { address: page.address });
    expect((await control(`owner.${DOMAIN}`)).body).toBe('the page of the device');
    expect((await edge.ask({ host: `owner.${DOMAIN}`, path: '/v1/transfer/x/y' })).body).toBe('the page of the device');
    expect((await control(`nobody.${DOMAIN}`)).status).toBe(404);
  });

  it('is upgraded, with the token, and relays both ways', async () => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    const headers = { connection: 'Upgrade', upgrade: 'websocket', authorization: 'Bearer t0k' };
    const req = request({ port: edge.port, host: '127.0.0.1', path: '/v1/control', headers, agent: false }).end();
    const [, socket, head] = await once(req, 'upgrade');
    let text = String(head);
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    socket.write('+more');
    await until('both', () => text === 'Bearer t0k+more');
    socket.destroy();
  });

  it('goes to the next ingress when one is dead, winding down or past its time', async () => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    await redis.instance('ws-ingress-2', 'ws-ingress', `127.0.0.1:${await freePort()}`);
    const leaving = await instance('ws-ingress-3', 'ws-ingress', { state: 'winding_down' });
    const silent = await instance('ws-ingress-4', 'ws-ingress');
    await redis.client.zadd('instance:index:ws-ingress', Date.now() - 1, 'ws-ingress-4');
    for (let i = 0; i < 20; i += 1) expect(JSON.parse((await control()).body).id).toBe('ws-ingress-1');
    expect([leaving.connections, silent.connections]).toEqual([0, 0]);
  });

  it('is spread over live ingresses', async () => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    await instance('ws-ingress-2', 'ws-ingress');
    const seen = new Set<string>();
    await until('both were asked', async () => seen.add(JSON.parse((await control()).body).id).size === 2);
  });

  it('is refused as unavailable, in JSON and with Retry-After, when there is none', async () => {
    await startEdge();
    const none = await control();
    await redis.instance('ws-ingress-1', 'ws-ingress', `127.0.0.1:${await freePort()}`);
    const dead = await until('the dead one is known', async () => {
      const answer = await control();
      return answer.status === 503 && answer;
    });
    for (const answer of [none, dead]) {
      expect(answer.status).toBe(503);
      expect(JSON.parse(answer.body).code).toBe('unavailable');
      expect([2, 3, 4, 5]).toContain(Number(answer.headers['retry-after']));
    }
  });

  it('goes on without Redis to the ingresses known last', async () => {
    await startEdge();
    await instance('ws-ingress-1', 'ws-ingress');
    await instance('tcp-listener-1', 'tcp-listener');
    await control();
    await edge.ask({ path: '/v1/transfer/tcp-listener-1/x' });
    await redis.kill();
    try {
      await until('redis is known to be away', async () => (await edge.health()).redis === 'away');
      expect(JSON.parse((await control()).body).id).toBe('ws-ingress-1');
      expect((await edge.ask({ path: '/v1/transfer/tcp-listener-1/x' })).status).toBe(200);
      expect((await edge.ask({ path: '/v1/transfer/tcp-listener-2/x' })).status).toBe(503);
    } finally {
      await redis.up();
    }
  });
});

describe('a device that comes while its only ingress is being started again', () => {
  it('waits for it', async () => {
    await startEdge();
    const before = await instance('ws-ingress-1', 'ws-ingress');
    expect((await control()).status).toBe(200);
    await before.stop();
    origins.splice(origins.indexOf(before), 1);
    const answer = control();
    await redis.client.multi().del('instance:ws-ingress-1').zrem('instance:index:ws-ingress', 'ws-ingress-1').exec();
    await new Promise((done) => setTimeout(done, 300));
    await instance('ws-ingress-1', 'ws-ingress');
    expect((await answer).status).toBe(200);
  });

  it('is sent away with Retry-After when the time of a restart is over', async () => {
    await startEdge();
    const answer = await control();
    expect(answer.status).toBe(503);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
  });
});

describe('/v1/transfer', () => {
  it('finds a listener that was started again at another address at once, whatever was known before', async () => {
    await startEdge();
    const before = await instance('tcp-listener-1', 'tcp-listener');
    const ask = () => edge.ask({ host: '127.0.0.1', path: '/v1/transfer/tcp-listener-1/abc' });
    expect((await ask()).status).toBe(200);
    await before.stop();
    origins.splice(origins.indexOf(before), 1);
    await instance('tcp-listener-1', 'tcp-listener');
    expect((await ask()).status).toBe(200);
  });

  it('goes to the listener that its path names, also while it winds down', async () => {
    await startEdge();
    await instance('tcp-listener-1', 'tcp-listener');
    await instance('tcp-listener-2', 'tcp-listener', { state: 'winding_down' });
    const one = await edge.ask({ path: '/v1/transfer/tcp-listener-1/abc', headers: { authorization: 'Bearer t' } });
    expect(JSON.parse(one.body)).toMatchObject({ id: 'tcp-listener-1', url: '/v1/transfer/tcp-listener-1/abc' });
    expect(JSON.parse(one.body).headers.authorization).toBe('Bearer t');
    const warm = await edge.ask({ path: '/v1/transfer/tcp-listener-2?warm=1' });
    expect(JSON.parse(warm.body)).toMatchObject({ id: 'tcp-listener-2', url: '/v1/transfer/tcp-listener-2?warm=1' });
    const [line] = await edge.accessLog(1, (entry) => String(entry.path).includes('listener-1'));
    expect(line?.path).toBe('/v1/transfer/tcp-listener-1');
  });

  it('leads to no other service and nowhere else', async () => {
    await startEdge();
    const admin = await instance('admin-1', 'admin');
    await redis.client.set('secret', '{"address":"127.0.0.1:1"}');
    for (const id of ['admin-1', 'tcp-listener-9', '..%2fsecret', 'TCP-listener-1', '%00', '']) {
      const answer = await edge.ask({ path: `/v1/transfer/${id}/x` });
      expect([400, 404]).toContain(answer.status);
    }
    expect(admin.connections).toBe(0);
  });
});

describe('the workers of one start or reload', () => {
  const generation = async (): Promise<string> => {
    const headers = { 'Culvert-Edge': 'forged' };
    const answer = await edge.ask({ path: '/v1/transfer/tcp-listener-1?warm=1', headers });
    return JSON.parse(answer.body).headers['culvert-edge'];
  };
  const retired = async (): Promise<[string, number][]> => {
    const flat = await redis.client.zrange('edge:retired', '0', '-1', 'WITHSCORES');
    return flat.flatMap((name, i) => (i % 2 === 0 ? [[name, Number(flat[i + 1])] as [string, number]] : []));
  };

  it('have a name, say it with what devices open, and in the store when they end, by a reload or with the edge', async () => {
    edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { WIND_DOWN_MS: 2_000 }, 2);
    await instance('tcp-listener-1', 'tcp-listener');
    await instance('ws-ingress-1', 'ws-ingress');
    const first = await generation();
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    expect(await generation()).toBe(first);
    expect(JSON.parse((await control()).body).headers['culvert-edge']).toBe(first);
    expect(await retired()).toEqual([]);
    await redis.client.zadd('edge:retired', Date.now() - 1, 'long ago');
    const before = Date.now();
    edge.reload();
    const [[name, until_ms]] = (await until('the former workers are told of', async () => {
      const all = await retired();
      return all.length === 1 && all[0]?.[0] !== 'long ago' && all;
    })) as [[string, number]];
    expect(name).toBe(first);
    expect(until_ms - before).toBeGreaterThanOrEqual(3_900);
    expect(until_ms - Date.now()).toBeLessThanOrEqual(4_000);
    expect(await redis.client.pttl('edge:retired')).toBeGreaterThan(0);
    const second = await until('the new workers serve', async () => {
      const now = await generation();
      return now !== first && now;
    });
    const stopped = edge.stop('SIGQUIT');
    await until('these are told of, too', async () => (await retired()).some(([one]) => one === second));
    await stopped;
  });

  it('are not told of where the store does not let the edge, which is logged and changes nothing else', async () => {
    edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}`, { WIND_DOWN_MS: 2_000 }, 1);
    await instance('ws-ingress-1', 'ws-ingress');
    await redis.client.set('edge:retired', 'of another kind');
    edge.reload();
    await until('it is logged', () => /devices are not asked to leave these workers.*WRONGTYPE/.test(edge.errorLog()));
    expect(edge.errorLog()).not.toContain('redis is away');
    expect((await control()).status).toBe(200);
  });
});
