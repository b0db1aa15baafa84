import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { declareGone, eventually, type ServiceProcess } from '../../../test/harness/service.ts';
import { ask, GOOD_HEADERS, INGRESS, World } from './world.ts';

const PER_SECOND = 5;
const BURST = 3 * PER_SECOND;
let world: World;
let ingress: ServiceProcess;
let redis: Redis;
let at: { host: string; port: number };

beforeAll(async () => {
  world = await World.start();
  redis = new Redis(world.redis.url);
  ingress = await world.startIngress({
    CULVERT_LIMIT_HANDSHAKES_PER_ADDRESS: String(PER_SECOND),
    CULVERT_LIMIT_INSTANCE_RENEW_MS: '200',
  });
  at = await world.addressOf(INGRESS);
  world.onAcquire = async ({ device }) => ({ ok: false, code: 'name_in_use', message: device });
});
afterAll(async () => {
  redis?.disconnect();
  await ingress?.stop();
  await world?.stop();
});

const knock = (from: string, name = 'alice'): ReturnType<typeof ask> =>
  ask(at, `/v1/control?name=${name}&ports=80`, { ...GOOD_HEADERS, 'x-forwarded-for': from });

it('one address has a bounded number of handshakes a second, asks nobody beyond it, and takes nothing from others', async () => {
  const answers = await Promise.all(Array.from({ length: 4 * BURST }, () => knock('192.0.2.1')));
  const refused = answers.filter(({ status }) => status === 429);
  expect(refused.length).toBeGreaterThan(0);
  expect(answers.filter(({ status }) => status === 409).length).toBeGreaterThanOrEqual(BURST);
  expect(refused.length + answers.filter(({ status }) => status === 409).length).toBe(answers.length);
  for (const { body, headers } of refused) {
    expect(body.code).toBe('rate_limited');
    expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
  }
  expect(world.acquired.length).toBe(answers.length - refused.length);
  expect((await knock('192.0.2.2')).status).toBe(409);
});

it('an instance that was declared gone takes no device until it knows what it still holds', async () => {
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  let asserted = false;
  world.onReassert = () => {
    asserted = true;
    return answered;
  };
  await declareGone(redis, INGRESS);
  await eventually('it asks what it holds', () => asserted);
  const before = world.acquired.length;
  const sentAway = await knock('192.0.2.3');
  expect(sentAway).toMatchObject({ status: 503, body: { code: 'unavailable', message: expect.stringContaining('finding out') } });
  expect(world.acquired.length).toBe(before);
  answer();
  await eventually('it takes devices again', async () => (await knock('192.0.2.4')).status === 409);
  expect(await redis.exists(`instance:gone:${INGRESS}`)).toBe(0);
});
