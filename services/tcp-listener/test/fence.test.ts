import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { declareGone, eventually, type ServiceProcess } from '../../../test/harness/service.ts';
import { LISTENER, Visitor, World } from './world.ts';

let world: World;
let listener: ServiceProcess;
let redis: Redis;

beforeAll(async () => {
  world = await World.start();
  redis = new Redis(world.redis.url);
  listener = await world.startListener({ CULVERT_LIMIT_RECONNECTING_MS: '1500', CULVERT_LIMIT_INSTANCE_RENEW_MS: '200' });
});
afterAll(async () => {
  redis?.disconnect();
  await listener?.stop();
  await world?.stop();
});

/** The lease-manager's part declares it gone; resolves once it asks what it still holds. The answer is the caller's to give. */
async function declaredGone(): Promise<() => void> {
  const { promise: answered, resolve: answer } = Promise.withResolvers<void>();
  let asks = false;
  world.onReassert = () => {
    asks = true;
    return answered;
  };
  await declareGone(redis, LISTENER);
  await eventually('it asks what it holds', () => asks);
  return () => {
    world.onReassert = async () => {};
    answer();
  };
}

it('visitors of an instance that was declared gone wait until it knows which ports are still its own, and not for ever', async () => {
  const tenure = await world.bound('alice');
  const { token_digests } = tenure;
  world.leases = [{ lease: world.leaseOf(tenure), token_digest: token_digests[0] ?? '', token_digests }];
  world.echo();
  const answer = await declaredGone();
  const tired = new Visitor(tenure.tcp);
  tired.socket.write('hello');
  expect((await tired.reset()).code).toBe('ECONNRESET');
  const patient = new Visitor(tenure.tcp);
  patient.socket.end('hello');
  await eventually('it is connected', () => !patient.socket.connecting);
  expect(world.dials).toHaveLength(0);
  answer();
  await patient.end();
  expect(patient.text()).toBe('hello');
  expect(world.dials).toHaveLength(1);
});
