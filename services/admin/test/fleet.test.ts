import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { until } from '../../../test/e2e/support.ts';
import { viewOf } from '../src/device-view.ts';
import { Fleet } from '../src/fleet/fleet.ts';
import { TestApi } from './api.ts';

const SIDE = { scheme: 'http', port: 8080, tcpHost: 'culvert.localhost' } as const;

let api: TestApi;
const names = async (query: string): Promise<string[]> => {
  const { status, body } = await api.call('GET', `/v1/devices?${query}`);
  expect([status, body]).toMatchObject([200, {}]);
  return body.devices.map(({ name }: { name: string }) => name);
};

beforeAll(async () => {
  api = await TestApi.start();
  api.add('anna', { created_at: 5, labels: { site: 'berlin' } }, { since: 300 });
  api.add(
    'bert',
    { created_at: 4, labels: { site: 'oslo' } },
    { since: 100, listener: 'tcp-listener-2', remote: '198.51.100.9' },
  );
  api.add('carl', { created_at: 3, notes: 'in the Basement' }, { state: 'grace', since: 200, due: 900 });
  api.add('dora', { created_at: 2 }, { state: 'reconnecting', since: 400, due: 800 });
  api.add('emil', { created_at: 1, revoked: true });
});
afterAll(() => api?.close());

it('sorts by what is asked for, either way, and puts last what has no such value', async () => {
  expect(await names('sort=-name')).toEqual(['emil', 'dora', 'carl', 'bert', 'anna']);
  expect(await names('sort=created_at')).toEqual(['emil', 'dora', 'carl', 'bert', 'anna']);
  expect(await names('sort=since')).toEqual(['bert', 'carl', 'anna', 'dora', 'emil']);
  expect(await names('sort=-since')).toEqual(['dora', 'anna', 'carl', 'bert', 'emil']);
  expect(await names('sort=state')).toEqual(['anna', 'bert', 'carl', 'dora', 'emil']);
  expect(await names('sort=due')).toEqual(['dora', 'carl', 'anna', 'bert', 'emil']);
});

it('filters by words, state, label, listener and ingress, and counts what fits', async () => {
  expect(await names('q=BASEMENT')).toEqual(['carl']);
  expect(await names('q=oslo+198.51')).toEqual(['bert']);
  expect(await names('q=anna-x7.culvert')).toEqual(['anna']);
  expect(await names('state=connected')).toEqual(['anna', 'bert']);
  expect(await names('state=reconnecting&state=offline')).toEqual(['dora', 'emil']);
  expect(await names('state=revoked')).toEqual(['emil']);
  expect(await names('sort=-name&label=site%3Doslo')).toEqual(['bert']);
  expect(await names('listener=tcp-listener-2')).toEqual(['bert']);
  expect((await api.call('GET', '/v1/devices?state=grace&limit=1')).body).toMatchObject({
    total: 2,
    devices: [{ name: 'carl' }],
  });
  expect((await api.call('GET', '/v1/fleet')).body).toEqual({
    ...{ devices: 5, connected: 2, reconnecting: 1, grace: 1, offline: 1, revoked: 1 },
  });
});

it('goes on behind the last one of the page before, though devices have come and gone meanwhile', async () => {
  const first = (await api.call('GET', '/v1/devices?sort=since&limit=2')).body;
  expect(first).toMatchObject({ total: 5, devices: [{ name: 'bert' }, { name: 'carl' }] });
  const leases = new Map(api.leases);
  api.leases.delete('carl');
  api.add('fred', {}, { since: 50 });
  api.manager.nc.publish('lease.expired.carl', '{}');
  api.manager.nc.publish('device.connected.fred', '{}');
  await until('the change', async () => ((await names('sort=since'))[0] === 'fred' ? true : undefined));
  const second = (await api.call('GET', `/v1/devices?sort=since&limit=2&cursor=${first.cursor}`)).body;
  expect(second.devices.map(({ name }: { name: string }) => name)).toEqual(['anna', 'dora']);
  api.devices.delete('fred');
  for (const [name, lease] of leases) api.leases.set(name, lease);
  for (const name of ['carl', 'fred']) api.manager.nc.publish(`device.connected.${name}`, '{}');
  await until('the former state', async () => ((await names('sort=since'))[1] === 'carl' ? true : undefined));
  for (const cursor of ['nonsense', first.cursor]) {
    const { status, body } = await api.call('GET', `/v1/devices?sort=-since&cursor=${cursor}`);
    expect([status, body.detail]).toEqual([400, expect.stringContaining('cursor is of another list')]);
  }
});

it('has a device at once that was added here, and reads one device again rather than all', async () => {
  await names('q=a');
  api.served.length = 0;
  expect((await api.call('POST', '/v1/devices', { name: 'gina' })).status).toBe(201);
  expect(await names('q=gina')).toEqual(['gina']);
  expect(api.served.filter((command) => command === 'device.list')).toEqual([]);
});

it('tells what changes among all devices: those that came, went on, and are gone, with the counts', async () => {
  const feed = await api.stream('/v1/fleet/feed');
  // biome-ignore lint/suspicious/noExplicitAny: what it is, is what the tests look at
  const changes = (): any[] =>
    [...feed.text().matchAll(/^event: change\ndata: (.*)$/gm)].map(([, text]) => JSON.parse(text ?? ''));
  const told = (name: string) => changes().flatMap(({ devices }) => devices.filter((one: { name: string }) => one.name === name));
  const begin = await until('the beginning', () => /^event: begin\ndata: (.*)$/m.exec(feed.text())?.[1]);
  const { counts } = (await api.call('GET', '/v1/fleet/devices')).body;
  expect(JSON.parse(begin)).toEqual({ counts });
  expect((await api.call('POST', '/v1/devices', { name: 'hugo' })).status).toBe(201);
  await until('who was added', () => told('hugo')[0]);
  api.add('hugo', {}, { since: 5, remote: '198.51.100.77' });
  api.manager.nc.publish('device.connected.hugo', '{}');
  const connected = await until('the new state', () => told('hugo').find(({ state }) => state === 'connected'));
  expect(connected).toMatchObject({ remote: '198.51.100.77', endpoints: [{ scheme: 'http', public_port: 20_001 }] });
  expect(changes().at(-1).counts).toEqual({ ...counts, connected: counts.connected + 1 });
  api.devices.delete('hugo');
  api.manager.nc.publish('device.connected.hugo', '{}');
  await until('who is gone', () => (changes().some(({ removed }) => removed.includes('hugo')) ? true : undefined));
  expect(
    changes()
      .flatMap(({ devices }) => devices)
      .map(({ name }: { name: string }) => name),
  ).not.toContain('anna'); // nothing was said of others
  feed.stop();
  expect((await fetch(`${api.url}/v1/fleet/feed`)).status).toBe(401);
});

it('answers after somebody has asked to change a device whose name is none', async () => {
  await names('q=a');
  expect((await api.call('DELETE', '/v1/devices/No%20Name')).status).toBe(400);
  expect(await names('q=anna')).toEqual(['anna']);
});

it('answers with what it knows while it reads all of it again, once a minute, and does not forget what changed meanwhile', async () => {
  const held = new Map<string, PromiseWithResolvers<void>>();
  const view = (name: string, notes: string) => ({
    ...viewOf({ device: name, created_at: 1, revoked: false, notes }, null, SIDE),
  });
  let notes = 'before';
  let lists = 0;
  const fleet = new Fleet({
    bus: api.manager,
    list: async () => {
      lists += 1;
      const devices = [view('kurt', notes)];
      await held.get('list')?.promise;
      return { devices, cursor: null };
    },
    show: async (name) => view(name, notes),
  });
  const known = async (): Promise<string[]> => [...(await fleet.all())].map((entry) => entry.view.notes);
  expect(await known()).toEqual(['before']);
  const now = performance.now.bind(performance);
  const later = vi.spyOn(performance, 'now').mockImplementation(() => now() + 61_000);
  held.set('list', Promise.withResolvers<void>());
  expect(await known()).toEqual(['before']); // the second reading stands still
  expect(lists).toBe(2);
  notes = 'after';
  fleet.touch('kurt');
  expect(await known()).toEqual(['after']);
  held.get('list')?.resolve();
  for (let turn = 0; turn < 5; turn += 1) await new Promise((done) => setImmediate(done)); // the reading comes to its end
  expect(await known()).toEqual(['after']); // though the reading had found it as it was before
  expect(lists).toBe(2);
  later.mockRestore();
  fleet.close();
});

it('refuses what a question or a body may not have', async () => {
  expect((await api.call('GET', '/v1/devices?stat=grace')).body).toMatchObject({ status: 400, code: 'bad_request' });
  expect((await api.call('POST', '/v1/devices', { name: 'ines', colour: 'red' })).body).toMatchObject({ status: 400 });
});

it('refuses an order and a state that there are not, and says which there are', async () => {
  expect((await api.call('GET', '/v1/devices?sort=size')).body).toMatchObject({ status: 400, code: 'bad_request' });
  expect((await api.call('GET', '/v1/devices?state=happy')).body).toMatchObject({ status: 400, code: 'bad_request' });
});

it('finds one among 10,000 without reading them anew', async () => {
  for (let i = 0; i < 10_000; i++) api.add(`many-${i}`, { labels: { shelf: String(i % 100) } }, { since: i });
  const all = async (): Promise<true | undefined> => {
    // More than are read one by one, unless the answer comes in their midst: then again, or after a minute by itself.
    for (let i = 0; i < 300; i++) api.manager.nc.publish(`device.connected.many-${i}`, '{}');
    await api.manager.nc.flush();
    return (await names('q=many-9999')).length === 1 ? true : undefined;
  };
  await until('all of them', all, 75_000);
  await until('calm', async () => {
    api.served.length = 0;
    await names('q=many-9999');
    return api.served.length === 0 ? true : undefined;
  });
  const from = performance.now();
  for (let i = 0; i < 20; i++) expect(await names(`q=many-${9_000 + i}&sort=-since`)).toHaveLength(1);
  expect(api.served).toEqual([]);
  console.log(`a search among 10,000 devices: ${((performance.now() - from) / 20).toFixed(1)} ms`);
}, 100_000);
