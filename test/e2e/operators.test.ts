import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import { startWebTarget, type Target } from '../harness/targets.ts';
import { curl, until } from './support.ts';

let stack: Stack;
let web: Target;
let agent: RunningAgent;

beforeAll(async () => {
  stack = await startStack();
  web = await startWebTarget();
  agent = await stack.runAgent({
    ...{ name: 'porch', token: await stack.addDevice('porch') },
    mappings: [`80=127.0.0.1:${web.port}`, `tcp:7=127.0.0.1:${web.port}`],
  });
  await stack.addDevice('attic');
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  await web?.close();
});

// biome-ignore lint/suspicious/noExplicitAny: what it is, is what the tests look at
const get = async (path: string): Promise<any> => {
  const { status, body } = await stack.admin('GET', path);
  expect([path, status]).toEqual([path, 200]);
  return body;
};

describe('an operator', () => {
  it('sees every process with its load, and how many ports are leased', async () => {
    const { instances } = await until('all processes', async () => {
      const found = await get('/v1/instances');
      return found.instances.length >= 5 ? found : undefined;
    });
    const byService = Object.fromEntries(instances.map((one: { service: string }) => [one.service, one]));
    for (const name of ['ws-ingress', 'tcp-listener', 'lease-manager', 'port-allocator', 'admin']) {
      expect(byService[name]).toMatchObject({ state: 'live' });
    }
    expect(byService['ws-ingress']).toMatchObject({ devices: 1 });
    expect(byService['tcp-listener']).toMatchObject({ devices: 1, ports: { leased: 2 } });
    const loaded = await until('a load of the listener', async () => {
      const { instances: again } = await get('/v1/instances');
      return again.find((one: { service: string; load: unknown }) => one.service === 'tcp-listener' && one.load !== null);
    });
    expect(loaded.load.memory).toBeGreaterThan(1_000_000);
  });

  it('sorts and searches devices, counts them, and reads their history', async () => {
    const { devices, total } = await get('/v1/devices?sort=state');
    expect([total, ...devices.map((one: { name: string }) => one.name)]).toEqual([2, 'porch', 'attic']);
    expect((await get('/v1/devices?q=atti')).devices).toHaveLength(1);
    expect(await get('/v1/fleet')).toMatchObject({ devices: 2, connected: 1, offline: 1 });
    const { events } = await get('/v1/devices/porch/events');
    expect(events.map((one: { type: string }) => one.type)).toEqual(['device.connected', 'lease.granted']);
  });

  it('has visitors shown while they are there', async () => {
    const { hostname } = new URL(String(agent.endpoint(80).url));
    expect((await curl(stack.info.edge, hostname, '/hello')).code).toBe(0);
    const seen = await until('the visitor', async () => {
      const { requests } = await get('/v1/devices/porch/visitors');
      return requests.length > 0 ? requests : undefined;
    });
    expect(seen[0]).toMatchObject({ path: '/hello', status: 200 });
  });
});
