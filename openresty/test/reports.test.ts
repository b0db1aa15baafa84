import { afterAll, beforeAll, expect, it } from 'vitest';
import { DOMAIN, Origin, TestEdge, TestRedis, until } from './support.ts';

let redis: TestRedis;
let edge: TestEdge;
let origin: Origin;

beforeAll(async () => {
  redis = await TestRedis.start();
  origin = await Origin.start((_req, res) => res.end('here'));
  edge = await TestEdge.start(`redis://127.0.0.1:${redis.port}/0`, { EDGE_REPORTS: 4, VISITORS_KEPT: 3 }, 1);
});
afterAll(async () => {
  await edge?.stop();
  await origin?.stop();
  await redis?.stop();
});

it('requests are told in bounded batches: what is too much is counted, and of each device the newest are kept', async () => {
  await redis.route('watched', { address: origin.address });
  const listener = redis.client.duplicate({ lazyConnect: false });
  const batches: { dropped: number; requests: Record<string, unknown>[] }[] = [];
  listener.on('message', (_channel, text) => batches.push(JSON.parse(text)));
  await listener.subscribe('visitor.requests');
  const total = 40;
  const answers = await Promise.all(
    Array.from({ length: total }, (_, i) => edge.ask({ host: `watched.${DOMAIN}`, path: `/p%22%0a${i}?token=secret` })),
  );
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  const told = (): number => batches.reduce((sum, { dropped, requests }) => sum + dropped + requests.length, 0);
  await until('all are told or counted', () => told() === total);
  expect(Math.max(...batches.map(({ requests }) => requests.length))).toBeLessThanOrEqual(4);
  expect(batches.some(({ dropped }) => dropped > 0)).toBe(true);
  const all = batches.flatMap(({ requests }) => requests);
  const ids = new Set(answers.map(({ headers }) => headers['culvert-visitor']));
  for (const request of all) {
    expect(ids.has(String(request.id))).toBe(true);
    expect(request).toMatchObject({ device: 'watched', host: `watched.${DOMAIN}`, method: 'GET', status: 200, outcome: 'ok' });
    expect(request.path).toMatch(/^\/p"\n\d+$/);
  }
  expect(await redis.client.llen('visitors:watched')).toBe(3);
  expect(await redis.client.pttl('visitors:watched')).toBeGreaterThan(0);
  listener.disconnect();
});
