import { EVENTS_STREAM, EVENTS_SUBJECTS } from '@culvert/contracts';
import { jetstreamManager } from '@nats-io/jetstream';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../../test/e2e/support.ts';
import { TestApi } from './api.ts';

let api: TestApi;

beforeAll(async () => {
  api = await TestApi.start();
});
afterAll(() => api?.close());

const say = async (type: string, device: string, seq: number): Promise<void> => {
  const event = { id: `i:${device}:1:${seq}`, type, subject: device, time: new Date().toISOString(), data: { epoch: 1, seq } };
  await api.manager.nc.request(`${type}.${device}`, JSON.stringify(event)); // answered once the stream has it
};
/** The seqs of the events so far. */
const seqsIn = (text: string): number[] => [...text.matchAll(/"seq":(\d+)/g)].map(([, seq]) => Number(seq));
const lastIdIn = (text: string): string => [...text.matchAll(/^id: (\S+)$/gm)].at(-1)?.[1] ?? '';

it('resumes after the last event that the listener saw, and misses none', async () => {
  const first = await api.feed('?device=alice');
  await until('the beginning', async () => (first.text().includes('live from now on') ? true : undefined));
  const beginning = await until('an id before any event', async () => lastIdIn(first.text()) || undefined);
  await say('device.connected', 'alice', 1);
  await say('device.connected', 'bob', 1);
  await until('the first event', async () => (seqsIn(first.text()).length === 1 ? true : undefined));
  first.stop();
  const seen = lastIdIn(first.text());
  for (const seq of [2, 3]) await say('lease.moved', 'alice', seq);
  const second = await api.feed('?device=alice', { 'last-event-id': seen });
  await until('what was missed', async () => (seqsIn(second.text()).length === 2 ? true : undefined));
  await say('lease.grace', 'alice', 4);
  await until('what comes then', async () => (seqsIn(second.text()).length === 3 ? true : undefined));
  expect(seqsIn(second.text())).toEqual([2, 3, 4]);
  expect(second.text()).not.toContain('feed.gap');
  second.stop();
  const third = await api.feed('', { 'last-event-id': beginning });
  await until('everything', async () => (seqsIn(third.text()).length === 5 ? true : undefined));
  expect(third.text()).toContain('"subject":"bob"');
  third.stop();
});

it('sends what comes at most once without an id, unless it is not wanted', async () => {
  const [all, few] = [await api.feed('?device=carl'), await api.feed('?device=carl&visitors=false')];
  await until('both', async () => (lastIdIn(all.text()) !== '' && lastIdIn(few.text()) !== '' ? true : undefined));
  const before = lastIdIn(all.text());
  await until('a conn event', async () => {
    api.manager.nc.publish('conn.opened.carl', '{"seq":7}');
    await new Promise((done) => setTimeout(done, 50));
    return all.text().includes('event: conn.opened') ? true : undefined;
  });
  await say('device.connected', 'carl', 8);
  await until('the event in both', async () =>
    all.text().includes('"seq":8') && few.text().includes('"seq":8') ? true : undefined,
  );
  expect(seqsIn(few.text())).toEqual([8]);
  expect(lastIdIn(all.text())).not.toBe(before);
  all.stop();
  few.stop();
});

it('says that there is a gap when the events after the id are not kept any more, or the id is of another stream', async () => {
  const reasonOf = async (id: string): Promise<string> => {
    const feed = await api.feed('', { 'last-event-id': id });
    const reason = await until('the gap', async () => /event: feed\.gap\ndata: \{"reason":"(\w+)"\}/.exec(feed.text())?.[1]);
    feed.stop();
    return reason;
  };
  const feed = await api.feed();
  const id = await until('an id', async () => lastIdIn(feed.text()) || undefined);
  feed.stop();
  expect(await reasonOf('nonsense')).toBe('unknown_id');
  expect(await reasonOf(`zz${id.slice(2)}`)).toBe('another_stream');
  for (const seq of [1, 2, 3]) await say('device.connected', 'dora', seq);
  await (await jetstreamManager(api.manager.nc)).streams.purge(EVENTS_STREAM);
  expect(await reasonOf(id)).toBe('expired');
});

it('has the history of a device page by page, newest first', async () => {
  for (let seq = 1; seq <= 5; seq++) await say('device.connected', 'erik', seq);
  await say('device.connected', 'fred', 9);
  const page = async (query: string) => (await api.call('GET', `/v1/devices/erik/events?${query}`)).body;
  const first = await page('limit=2');
  expect(first.events.map(({ data }: { data: { seq: number } }) => data.seq)).toEqual([5, 4]);
  expect(first.events[0]).toMatchObject({ type: 'device.connected', subject: 'erik', id: 'i:erik:1:5' });
  const second = await page(`limit=3&cursor=${first.cursor}`);
  expect(second.events.map(({ data }: { data: { seq: number } }) => data.seq)).toEqual([3, 2, 1]);
  expect(second.cursor).toBeNull();
  expect((await api.call('GET', '/v1/devices/nobody/events')).body).toEqual({ events: [], cursor: null });
});

it('is unavailable, not empty, while there is no stream', async () => {
  const jsm = await jetstreamManager(api.manager.nc);
  await jsm.streams.delete(EVENTS_STREAM);
  for (const path of ['/v1/events', '/v1/devices/erik/events']) {
    expect(await api.call('GET', path)).toMatchObject({ status: 503, body: { code: 'unavailable' } });
  }
  await jsm.streams.add({ name: EVENTS_STREAM, subjects: EVENTS_SUBJECTS });
});
