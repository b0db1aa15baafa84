import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually, type ServiceProcess } from '../../../test/harness/service.ts';
import { ask, GOOD_HEADERS, RawDevice, World } from './world.ts';

let world: World;
const running: ServiceProcess[] = [];

beforeAll(async () => {
  world = await World.start();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop()));
  world.released.length = 0;
});
afterAll(() => world?.stop());

async function start(id: string): Promise<ServiceProcess> {
  const limits = { WIND_DOWN_MS: '2000', CLOSE_MS: '300', INSTANCE_RENEW_MS: '200' };
  const env = Object.fromEntries(Object.entries(limits).map(([name, value]) => [`CULVERT_LIMIT_${name}`, value]));
  const one = await world.startIngress(env, id);
  running.push(one);
  return one;
}

it('an instance that is stopped asks its devices to move, refuses new ones, and waits until the last has gone', async () => {
  const first = await start('ws-ingress-1');
  await start('ws-ingress-2');
  const at = await world.addressOf('ws-ingress-1');
  const device = new RawDevice(at, 'name=alice&ports=80&boot=0123456789abcdef');
  await device.message('ready');
  const stopped = first.stop();
  expect(await device.message('wind_down')).toMatchObject({ reconnect_ms: 1000 });
  expect(await ask(at, '/v1/control?name=bob&ports=80', GOOD_HEADERS)).toMatchObject({
    status: 503,
    body: { code: 'wind_down' },
  });
  expect(device.closed).toBeUndefined();
  const moved = new RawDevice(await world.addressOf('ws-ingress-2'), 'name=alice&ports=80&boot=0123456789abcdef');
  await moved.message('ready');
  device.ws.close(1000);
  expect(await stopped).toBe(0);
  expect(moved.closed).toBeUndefined();
});

it('a device that does not move is closed in the end, and its tenure is released as lost', async () => {
  const first = await start('ws-ingress-1');
  await start('ws-ingress-2');
  const device = new RawDevice(await world.addressOf('ws-ingress-1'), 'name=stubborn&ports=80');
  await device.message('ready');
  const stopped = first.stop();
  expect((await device.end()).code).toBe(4415);
  expect(await stopped).toBe(0);
  expect(world.released).toMatchObject([{ device: 'stubborn', reason: 'ingress_gone' }]);
});

it('an instance without another one stops at once', async () => {
  const only = await start('ws-ingress-1');
  const device = new RawDevice(await world.addressOf('ws-ingress-1'), 'name=alone&ports=80');
  await device.message('ready');
  const stopped = only.stop();
  expect((await device.end()).code).toBe(4415);
  expect(await stopped).toBe(0);
  expect(device.messages.some(({ type }) => type === 'wind_down')).toBe(false);
  await eventually('the release', () => world.released.length === 1);
});

it('devices that came through workers of an edge that end are asked once to come again, and all others are left alone', async () => {
  await start('ws-ingress-1');
  const at = await world.addressOf('ws-ingress-1');
  const through = (name: string, generation?: string): RawDevice =>
    new RawDevice(at, `name=${name}&ports=80`, generation === undefined ? {} : { headers: { 'culvert-edge': generation } });
  const leaving = through('leaving', '00000000000000e1');
  const others = [through('staying', '00000000000000e2'), through('direct'), through('odd', 'none of ours')];
  await Promise.all([leaving, ...others].map((device) => device.message('ready')));
  const redis = new Redis(world.redis.url);
  await redis.zadd('edge:retired', Date.now() - 1, '00000000000000e2', Date.now() + 60_000, '00000000000000e1');
  try {
    expect(await leaving.message('wind_down')).toMatchObject({ reconnect_ms: 1000 });
    const late = through('late', '00000000000000e1');
    await late.message('wind_down');
    const asked = (device: RawDevice): number => device.messages.filter(({ type }) => type === 'wind_down').length;
    expect([leaving, late, ...others].map(asked)).toEqual([1, 1, 0, 0, 0]);
    expect(leaving.closed).toBeUndefined();
    for (const device of [leaving, late, ...others]) device.ws.close(1000);
  } finally {
    await redis.del('edge:retired');
    redis.disconnect();
  }
});

it('wrong settings are reported all at once', async () => {
  const failed = await world
    .startIngress({ CULVERT_HEARTBEAT: '5m', CULVERT_PUBLIC_SCHEME: 'ftp' })
    .catch((error: Error) => error.message);
  expect(failed).toContain('CULVERT_HEARTBEAT');
  expect(failed).toContain('CULVERT_PUBLIC_SCHEME');
});

it('an id that the store would not let it write is refused', async () => {
  const failed = await world.startIngress({}, 'lease-manager-1').catch((error: Error) => error.message);
  expect(failed).toContain('exited with 2');
  expect(failed).toContain('CULVERT_INSTANCE_ID="lease-manager-1" is not valid; expected an id with ws-ingress in it');
});
