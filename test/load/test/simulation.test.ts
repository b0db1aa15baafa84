import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { capacityTable, PAGE, readFigures, simulationFigures } from '../simulation/capacity.ts';
import { markdown } from '../simulation/page.ts';
import { simulate } from '../simulation/simulation.ts';

it('fills a real store with leases step by step, and measures every way in and out at each size', async () => {
  const run = await simulate([500, 2_000], 200, () => {});
  expect(run.steps.map(({ leases }) => leases)).toEqual([500, 2_000]);
  for (const { leaseBytes, acquired, released, advanced, eventsPerAcquire, eventsPerLoss } of run.steps) {
    expect(leaseBytes).toBeGreaterThan(200);
    expect(Math.round(acquired.scripts)).toBe(4); // damp, begin, reserve, confirm
    expect([released.count, advanced.count]).toEqual([200, 200]);
    expect([eventsPerAcquire, Math.round(eventsPerLoss)]).toEqual([2, 2]); // granted, connected; disconnected, grace
  }
  expect(run.relayed.events).toBe(500);
  expect(run.restart.leases).toBe(2_000);
  expect(markdown(run)).not.toMatch(/NaN|undefined/);
  const load = { devices: 1, services: { 'ws-ingress': { kibADevice: 8, idleMicrosASecond: 10, connectMs: 2, visitMs: 1 } } };
  const table = capacityTable({ load, simulation: simulationFigures(run) });
  expect(table).toContain('| ws-ingress instances | N ÷ 50,000, two at least | 2 | 2 | 2 | 20 |');
  expect(table).toContain('| memory of all ws-ingress | N × 8 KiB | 0.00763 GiB | 0.0763 GiB | 0.763 GiB | 7.63 GiB |');
}, 120_000);

it('is what the table of the docs was made of', async () => {
  const figures = await readFigures();
  expect(await readFile(PAGE, 'utf8')).toContain(`<!-- capacity -->\n${capacityTable(figures)}\n<!-- end of capacity -->`);
});
