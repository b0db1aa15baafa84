import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DOMAIN, Origin, TestEdge, TestRedis, until } from './support.ts';

const PER_DEVICE = 20;
const HELD_MS = 500;
let redis: TestRedis;
let edge: TestEdge;
let origin: Origin;
const served = new Map<string, number>();

beforeAll(async () => {
  redis = await TestRedis.start();
  origin = await Origin.start((req, res) => {
    const host = req.headers.host ?? '';
    served.set(host, (served.get(host) ?? 0) + 1);
    res.end('here');
  });
  edge = await TestEdge.start(
    `redis://127.0.0.1:${redis.port}`,
    { EDGE_REQUESTS_PER_DEVICE: PER_DEVICE, EDGE_REQUESTS_PER_ADDRESS: 2 * PER_DEVICE, EDGE_TOO_FAST_MS: HELD_MS },
    2,
  );
  await until('all workers listen', async () => (await redis.client.pubsub('NUMSUB', 'route.changed'))[1] === 2);
  for (const label of ['camera', 'witness', 'bounded', 'secret', 'scattered', 'other', 'fast']) {
    await redis.route(label, { address: origin.address });
  }
});
afterAll(async () => {
  await edge?.stop();
  await origin?.stop();
  await redis?.stop();
});

const ask = (label: string, from = '127.0.0.1', path = '/') => edge.ask({ host: `${label}.${DOMAIN}`, from, path });
const statuses = async (label: string, count: number, from?: string): Promise<number[]> =>
  (await Promise.all(Array.from({ length: count }, () => ask(label, from)))).map(({ status }) => status);
const countOf = (all: number[], status: number): number => all.filter((one) => one === status).length;

describe('requests that come too fast', () => {
  it('for one device are refused after a while, and those for others are served meanwhile', async () => {
    const from = performance.now();
    // Two addresses: neither asks too fast by itself.
    const flood = Promise.all([
      statuses('camera', PER_DEVICE + 10, '127.0.0.1'),
      statuses('camera', PER_DEVICE + 10, '127.0.0.2'),
    ]);
    expect((await ask('witness', '127.0.0.3')).status).toBe(200);
    const all = (await flood).flat();
    const ms = performance.now() - from;
    expect(countOf(all, 200)).toBeGreaterThanOrEqual(PER_DEVICE);
    expect(countOf(all, 200)).toBeLessThanOrEqual(Math.ceil(PER_DEVICE * (1 + ms / 1000)));
    expect(countOf(all, 200) + countOf(all, 429)).toBe(all.length);
    expect(served.get(`camera.${DOMAIN}`)).toBe(countOf(all, 200));
    expect(ms).toBeGreaterThanOrEqual(HELD_MS);
    await until('it is served again', async () => (await ask('camera')).status === 200);
  });

  it('from one address are refused, whatever they ask for', async () => {
    const names = ['scattered', 'witness', 'other', 'nobody'];
    const all = await Promise.all(Array.from({ length: 4 * PER_DEVICE }, (_, i) => ask(names[i % 4] ?? '', '127.0.0.4')));
    const refused = all.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThan(0);
    expect(refused[0]?.headers['retry-after']).toMatch(/^\d+$/);
    expect((await ask('scattered', '127.0.0.5')).status).toBe(200);
    const routes = await Promise.all(Array.from({ length: 4 * PER_DEVICE }, () => ask('other', '127.0.0.6', '/.culvert/route')));
    expect(routes.filter(({ status }) => status === 429).length).toBeGreaterThan(0);
  });

  it('are bounded, too, where workers take what fills soon in advance', async () => {
    const rate = 250;
    await redis.client.hset('kept:policy:fast', { value: JSON.stringify({ requests_per_second: rate }), revision: 1 });
    const from = performance.now();
    const all = await Promise.all(Array.from({ length: 10 }, (_, i) => statuses('fast', 30, `127.0.1.${i + 1}`)));
    const ms = performance.now() - from;
    expect(countOf(all.flat(), 200)).toBeGreaterThanOrEqual(rate * 0.9);
    expect(countOf(all.flat(), 200)).toBeLessThanOrEqual(Math.ceil(rate * (1 + ms / 1000)));
  });

  it('are told by the policy of the device, from the moment on that it changes', async () => {
    const say = async (rate: number | undefined): Promise<void> => {
      const key = 'kept:policy:bounded';
      const change = redis.client.multi();
      if (rate === undefined) change.del(key);
      else change.hset(key, { value: JSON.stringify({ requests_per_second: rate }), revision: 1 });
      await change.publish('route.changed', 'policy bounded').exec();
    };
    expect(countOf(await statuses('bounded', PER_DEVICE, '127.0.0.7'), 200)).toBe(PER_DEVICE);
    await say(1);
    await until('it has its new bound', async () => {
      const got = await statuses('bounded', 4, '127.0.0.7');
      return countOf(got, 200) <= 2;
    });
    await say(200);
    await until('it has room again', async () => countOf(await statuses('bounded', 30, '127.0.0.8'), 200) === 30);
  });

  it('for a private page do not reach it, and are counted', async () => {
    await redis.client
      .multi()
      .hset('kept:access:secret', { value: '{"private":true}' })
      .publish('route.changed', 'access secret')
      .exec();
    await until('it is private', async () => (await ask('secret', '127.0.0.9')).status === 403);
    await sleep(1_000); // its bucket is full again
    const all = [
      ...(await statuses('secret', PER_DEVICE + 10, '127.0.0.9')),
      ...(await statuses('secret', PER_DEVICE + 10, '127.0.0.10')),
    ];
    expect(countOf(all, 429)).toBeGreaterThan(0);
    expect(countOf(all, 403) + countOf(all, 429)).toBe(all.length);
    expect(served.get(`secret.${DOMAIN}`)).toBeUndefined();
    await until('they are in the metrics', async () => {
      const text = await (await fetch(`http://127.0.0.1:${edge.healthPort}/metrics`)).text();
      return text.includes('culvert_edge_requests_total{kind="visitor",status="4xx",outcome="rate_limited"} ');
    });
  });
});
