import { expect, it } from 'vitest';
import { Traffic } from '../src/fleet/traffic.ts';

const request = {
  id: 'x',
  at: 0,
  host: '',
  remote: '',
  method: 'GET',
  path: '/',
  status: 200,
  ms: 1,
  bytes_in: 10,
  bytes_out: 100,
};
const visitor = { id: 'y', at: 0, remote: '', port: 22, ms: null, to_device: null, to_visitor: null };

it('counts requests and tcp visitors by device and by time, and forgets them after an hour', () => {
  let now = 1_700_000_000_000;
  const traffic = new Traffic(() => now);
  traffic.addRequest({ ...request, device: 'alice', outcome: 'ok' });
  traffic.addRequest({ ...request, device: 'alice', outcome: 'local_refused' });
  traffic.addTcp({ ...visitor, device: 'bob', outcome: null }, true);
  now += 60_000;
  traffic.addTcp({ ...visitor, device: 'bob', outcome: 'ok', to_device: 3, to_visitor: 4 }, false);

  const { steps, step_ms: stepMs, from } = traffic.series();
  expect(steps).toHaveLength(360);
  expect(from + 359 * stepMs).toBe(now - (now % stepMs));
  expect(steps.at(-7)).toEqual({ requests: 2, tcp: 1, failed: 1, bytes_in: 20, bytes_out: 200 });
  expect(steps.at(-1)).toEqual({ requests: 0, tcp: 0, failed: 0, bytes_in: 3, bytes_out: 4 });
  expect(traffic.series('bob').steps.at(-7)).toMatchObject({ requests: 0, tcp: 1 });
  expect(traffic.series('nobody').steps.every(({ requests }) => requests === 0)).toBe(true);
  expect(traffic.busiest(1)).toMatchObject([{ device: 'alice', visits: 2 }]);
  expect(traffic.busiest(9).map(({ device }) => device)).toEqual(['alice', 'bob']);

  now += 3_600_000;
  expect(traffic.busiest(9)).toEqual([]);
  traffic.addRequest({ ...request, device: 'carol', outcome: 'ok' });
  expect(traffic.series().steps.reduce((sum, { requests }) => sum + requests, 0)).toBe(1);
});
