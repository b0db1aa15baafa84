import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { type LoadOptions, readOptions } from '../options.ts';
import { save } from '../report.ts';
import { Load } from '../run.ts';
import { costs, type LoadRun } from '../summary.ts';

const DEVICES = 300;
const dir = mkdtempSync(join(tmpdir(), 'culvert-load-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it('connects a fleet, lets visitors in, cuts every link, and writes down what all of it cost', async () => {
  const options: LoadOptions = {
    by: 'edge',
    ...{ devices: DEVICES, crowds: 2, width: 32, rate: 30, emptyS: 2, idleS: 2, visitorsS: 4 },
    ...{ connectS: 120, heartbeatS: 30, storm: true, env: { CULVERT_REPLICAS: 'ws-ingress=2,tcp-listener=2' } },
  };
  const told: string[] = [];
  const run = await Load.run(options, (text) => told.push(text));
  expect(run.phases.map(({ name }) => name)).toEqual(['empty', 'connect', 'idle', 'visitors', 'storm', 'after']);
  const phase = Object.fromEntries(run.phases.map((one) => [one.name, one]));
  for (const name of ['connect', 'idle', 'visitors', 'storm', 'after']) expect(phase[name]?.ready, name).toBe(DEVICES);
  expect(phase.storm?.lost).toBe(DEVICES);
  expect(phase.visitors?.failures, told.join('\n')).toEqual({});
  expect(phase.visitors?.httpMs.length).toBeGreaterThan(0);
  expect(phase.visitors?.tcpMs.length).toBeGreaterThan(0);
  expect(phase.visitors?.dials).toBeGreaterThan(0);
  const cost = costs(run);
  expect(cost.map(({ name }) => name)).toEqual(expect.arrayContaining(['ws-ingress', 'tcp-listener', 'redis', 'nats', 'edge']));
  expect(cost.find(({ name }) => name === 'ws-ingress')?.connectMs).toBeGreaterThan(0);
  expect(run.seconds.some(({ eventLagMs }) => eventLagMs !== null)).toBe(true);

  await save(run, pathToFileURL(`${dir}/`), false);
  const kept = JSON.parse(readFileSync(join(dir, 'load.json'), 'utf8')) as LoadRun;
  expect(kept.options.devices).toBe(DEVICES);
  const page = readFileSync(join(dir, 'load.html'), 'utf8');
  expect(page).toContain('<h1>Culvert under load: 300 devices</h1>');
  expect(page.match(/<svg /g)).toHaveLength(9);
  expect(page).not.toMatch(/NaN|undefined|<script|https?:\/\//);
}, 240_000);

it('names what is wrong with its options, and takes as many processes as descriptors ask for', () => {
  expect(() => readOptions(['--devices', '50000'], {})).toThrow('--devices 50000; expected 2 to 36000');
  expect(() => readOptions(['--by', 'air'], {})).toThrow('--by air; expected ingress or edge');
  const { crowds, env } = readOptions(['--devices', '20000'], { CULVERT_DOMAIN: 'fleet.test', PATH: '/bin' });
  expect(crowds).toBe(3);
  expect(env).toEqual({
    ...{ CULVERT_REPLICAS: 'ws-ingress=3,tcp-listener=2', CULVERT_DOMAIN: 'fleet.test' },
    ...{ CULVERT_PORT: '1099', CULVERT_TCP_PORTS: '1100-21500' },
  });
});
