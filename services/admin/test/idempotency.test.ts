import { createOperatorToken, digestOf } from '@culvert/service-kit';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { until } from '../../../test/e2e/support.ts';
import { TestApi } from './api.ts';

let api: TestApi;

beforeAll(async () => {
  api = await TestApi.start();
});
afterAll(() => api?.close());

const add = (name: string, key: string, headers: Record<string, string> = {}) =>
  api.call('POST', '/v1/devices', { name }, { 'idempotency-key': key, ...headers });

it('answers a write again that names the same key, and does it once', async () => {
  const first = await add('anna', 'key-of-anna');
  expect(first).toMatchObject({ status: 201, body: { name: 'anna' } });
  const again = await add('anna', 'key-of-anna');
  expect(again).toMatchObject({ status: 201, body: first.body });
  expect([first, again].map(({ headers }) => headers.get('idempotency-replayed'))).toEqual([null, 'true']);
  expect(again.headers.get('content-type')).toBe(first.headers.get('content-type'));
  expect(api.served.filter((command) => command === 'device.add')).toHaveLength(1);
  const { body } = await api.call('GET', '/v1/audit?object=anna');
  expect(body.entries.map(({ detail }: { detail: object }) => detail)).toEqual([{ replayed: true }, {}]);
});

it('gives refusals again as well', async () => {
  expect((await api.call('POST', '/v1/devices', { name: 'anna' })).status).toBe(409);
  const first = await add('anna', 'key-of-a-refusal');
  api.devices.delete('anna');
  const again = await add('anna', 'key-of-a-refusal');
  expect([first.status, again.status]).toEqual([409, 409]);
  expect(again.body).toEqual(first.body);
  expect(again.headers.get('content-type')).toContain('application/problem+json');
});

it('refuses a key that was used for another request, is under way, or is none', async () => {
  await add('bert', 'key-of-bert');
  expect(await add('carl', 'key-of-bert')).toMatchObject({ status: 409, body: { code: 'conflict' } });
  expect(await add('carl', 'short')).toMatchObject({ status: 400, body: { code: 'bad_request' } });
  const both = await Promise.all([add('dora', 'key-of-dora'), add('dora', 'key-of-dora')]);
  expect(both.map(({ status }) => status).sort()).toSatisfy(
    (statuses: number[]) => statuses[0] === 201 && [201, 409].includes(statuses[1] ?? 0),
  );
  expect(api.served.filter((command) => command === 'device.add').length).toBeLessThan(6);
});

it('is free again after a fault of ours', async () => {
  const unserved = await api.call('DELETE', '/v1/devices/bert', undefined, { 'idempotency-key': 'key-of-a-fault' });
  expect(unserved.status).toBe(503); // this test's lease-manager revokes nothing
  await until('the key to be free', () => (api.records.size > 0 && ![...api.records.values()].some(underWay) ? true : undefined));
});

it('keeps answers so that nobody can read them in the store, and gives them to nobody else', async () => {
  const token = createOperatorToken('eve');
  const now = Date.now();
  api.records.set('operator eve', {
    value: { role: 'operator', tokens: [{ digest: digestOf(token), created_at: now }], created_at: now, created_by: 'root' },
    revision: 1,
  });
  const { body } = await add('fred', 'key-of-fred');
  expect(JSON.stringify([...api.records])).not.toContain(body.token);
  const other = await add('fred', 'key-of-fred', { authorization: `Bearer ${token}` });
  expect(other).toMatchObject({ status: 409, body: { code: 'already_exists' } });
});

it('says what is wrong as a problem document whatever it is', async () => {
  const cases: [number, string, string, unknown?, Record<string, string>?][] = [
    [404, 'GET', '/v1/nothing'],
    [405, 'PUT', '/v1/devices/anna'],
    [413, 'POST', '/v1/devices', { name: 'a'.repeat(20_000) }],
    [400, 'POST', '/v1/devices', '{'],
    [400, 'POST', '/v1/devices', '{}', { 'content-type': 'text/plain' }],
    [400, 'GET', '/v1/devices?limit=none'],
    [401, 'GET', '/v1/devices', undefined, { authorization: 'Bearer wrong' }],
  ];
  for (const [status, method, path, sent, headers] of cases) {
    const answer = await api.call(method, path, sent, headers);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([
      status,
      expect.stringContaining('application/problem+json'),
    ]);
    expect(answer.body).toMatchObject({ type: 'about:blank', status, title: expect.any(String), code: expect.any(String) });
    expect(answer.body.detail.length).toBeGreaterThan(5);
  }
  const { headers } = await api.call('PUT', '/v1/devices/anna');
  expect(headers.get('allow')).toBe('DELETE, GET, HEAD, PATCH');
});

function underWay({ value }: { value: unknown }): boolean {
  return typeof value === 'object' && value !== null && 'request' in value && !('answer' in value);
}
