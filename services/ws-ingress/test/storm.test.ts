import { afterAll, beforeAll, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { ask, GOOD_HEADERS, INGRESS, World } from './world.ts';

let world: World;
let ingress: ServiceProcess;
let at: { host: string; port: number };

beforeAll(async () => {
  world = await World.start();
  const limits = { ACQUIRES_AT_ONCE: '2', HANDSHAKES_PENDING: '8', HANDSHAKE_MS: '2000', ACQUIRE_MS: '1500' };
  ingress = await world.startIngress(
    Object.fromEntries(Object.entries(limits).map(([name, value]) => [`CULVERT_LIMIT_${name}`, value])),
  );
  at = await world.addressOf(INGRESS);
});
afterAll(async () => {
  await ingress?.stop();
  await world?.stop();
});

const knock = (name: string): ReturnType<typeof ask> => ask(at, `/v1/control?name=${name}&ports=80`, GOOD_HEADERS);

it('at most ACQUIRES_AT_ONCE leases are acquired at once, in the order of arrival; who waits too long is sent away', async () => {
  let under = 0;
  let most = 0;
  const open: (() => void)[] = [];
  world.onAcquire = async (request) => {
    under += 1;
    most = Math.max(most, under);
    await new Promise<void>((done) => open.push(done));
    under -= 1;
    return { ok: false, code: 'name_in_use', message: request.device };
  };
  const first = knock('one');
  await eventually('the first acquire', () => world.acquired.length === 1);
  const second = knock('two');
  await eventually('the second acquire', () => world.acquired.length === 2);
  const third = knock('three');
  await eventually('the third in line', async () => (await metricOf(ingress, 'culvert_acquires_waiting')) === 1);
  const fourth = knock('four');
  open.shift()?.();
  expect((await first).status).toBe(409);
  await eventually('the third acquire', () => world.acquired.length === 3);
  expect(world.acquired[2]?.device).toBe('three');
  const away = await fourth;
  expect(away).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  expect(Number(away.headers.get('retry-after'))).toBeGreaterThanOrEqual(2);
  for (const release of open) release();
  await Promise.all([second, third]);
  expect(most).toBe(2);
  expect(world.acquired).toHaveLength(3);
  expect(await metricOf(ingress, 'culvert_acquires_running')).toBe(0);
});

it('handshakes beyond HANDSHAKES_PENDING are told to come back at different times', async () => {
  const open: (() => void)[] = [];
  world.onAcquire = async () => {
    await new Promise<void>((done) => open.push(done));
    return { ok: false, code: 'name_in_use', message: 'in use' };
  };
  const knocking = Array.from({ length: 60 }, (_, index) => knock(`many-${index}`));
  const answers = await Promise.all([
    ...knocking,
    eventually('both turns', () => open.length === 2).then(async () => {
      await eventually('the others to be sent away', async () => (await metricOf(ingress, 'culvert_handshakes_pending')) <= 2);
      for (const release of open) release();
      return undefined;
    }),
  ]);
  const waits = answers.flatMap((answer) => (answer?.status === 503 ? [Number(answer.headers.get('retry-after'))] : []));
  expect(waits.length).toBeGreaterThanOrEqual(50);
  expect(new Set(waits).size).toBeGreaterThan(3);
});
