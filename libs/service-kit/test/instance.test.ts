import { DEFAULT_LIMITS } from '@culvert/contracts';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { type ServerProcess, startRedis } from '../../../test/harness/servers.ts';
import { eventually } from '../../../test/harness/service.ts';
import { connectRedis, createLogger, InstanceRegistration } from '../src/index.ts';

const ID = 'ws-ingress-1';
const KEY = `instance:${ID}`;
const NOTICE = `instance:gone:${ID}`;
const INDEX = 'instance:index:ws-ingress';
const limits = { ...DEFAULT_LIMITS, INSTANCE_RENEW_MS: 50, INSTANCE_TTL_MS: 5_000 };

let server: ServerProcess;
let redis: Redis;
let registration: InstanceRegistration;
beforeAll(async () => {
  server = await startRedis();
  redis = await connectRedis(server.url, 'test', createLogger('test', 'test', 'silent'));
});
afterAll(async () => {
  redis.disconnect();
  await server.stop();
});
beforeEach(async () => {
  await redis.flushall();
  registration = new InstanceRegistration(redis, limits, createLogger('test', 'test', 'silent'), {
    id: ID,
    service: 'ws-ingress',
    address: '',
  });
  await registration.start();
  return () => registration.stop();
});

interface Seen {
  key: number;
  notice: number;
  listed: boolean;
}

/** What the store says of the instance each time that it looks what it has; `meanwhile` happens during the first look. */
function look(meanwhile: () => Promise<unknown> = async () => {}): Seen[] {
  const seen: Seen[] = [];
  registration.onFenced = async () => {
    const [key, notice, score] = await Promise.all([redis.exists(KEY), redis.exists(NOTICE), redis.zscore(INDEX, ID)]);
    if (seen.push({ key, notice, listed: score !== null }) === 1) await meanwhile();
  };
  return seen;
}

/** As a sweep does it. */
const declareGone = (incarnation: string): Promise<unknown> => redis.multi().del(KEY).set(NOTICE, incarnation).exec();
const standsAgain = (): Promise<boolean> =>
  eventually('it stands again', async () =>
    registration.fence === undefined && (await redis.zscore(INDEX, ID)) !== null && (await redis.exists(NOTICE)) === 0
      ? true
      : undefined,
  );

it('that was declared gone looks what it has, with its key back in place and out of the set that others choose from', async () => {
  const seen = look();
  await declareGone(registration.record.incarnation);
  await eventually('it looks', () => (seen.length > 0 ? true : undefined));
  await standsAgain();
  expect(seen).toEqual([{ key: 1, notice: 0, listed: false }]);
});

it('looks when the sweep did not know which of its starts it meant, and not when another start was meant', async () => {
  const seen = look();
  await declareGone('an earlier start');
  await eventually('it has renewed', async () => ((await redis.exists(KEY)) === 1 ? true : undefined));
  expect(seen).toEqual([]);
  await declareGone('');
  await eventually('it looks', () => (seen.length > 0 ? true : undefined));
  await standsAgain();
  expect(seen).toHaveLength(1);
});

it('looks once more when it is declared gone while it looks', async () => {
  const seen = look(() => declareGone(registration.record.incarnation));
  await declareGone(registration.record.incarnation);
  await eventually('it has looked twice', () => (seen.length === 2 ? true : undefined));
  await standsAgain();
  expect(seen[1]).toEqual({ key: 1, notice: 0, listed: false });
});
