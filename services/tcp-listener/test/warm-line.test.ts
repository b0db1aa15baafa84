import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { WarmDevice } from './warm-device.ts';
import { type Bind, Visitor, World } from './world.ts';

const WAIT_MS = 1_000;

let world: World;
let listener: ServiceProcess;
let tenure: Bind & { tcp: number; http: number };
let device: WarmDevice;
let serial = 0;

beforeAll(async () => {
  world = await World.start();
  listener = await world.startListener({ CULVERT_LIMIT_WARM_WAIT_MS: String(WAIT_MS), CULVERT_LIMIT_DIAL_MS: '5000' });
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});
afterEach(() => {
  world.onDial = () => {};
  device?.ws.terminate();
});

const waiting = (): Promise<number> => metricOf(listener, 'culvert_warm_transfers_waiting');

/** Sends `text` and ends; resolves with what came back until the end. */
async function talk(text: string): Promise<string> {
  const visitor = new Visitor(tenure.tcp);
  visitor.socket.end(text);
  await visitor.end();
  return visitor.text();
}

/** A device with one warm transfer, which has just come back from a visitor; dials are answered by an echo as well. */
async function oneReturned(): Promise<void> {
  serial += 1;
  tenure = await world.bound(`line-${serial}`, { warm: 4, transfers: 16 });
  world.echo();
  await talk('dialled');
  world.dials.length = 0;
  device = (await WarmDevice.open(world)).echo();
  await eventually('the transfer waits', async () => (await waiting()) === 1);
  expect(await talk('the first')).toBe('the first');
  expect(world.dials).toEqual([]);
}

describe('visitors who find every warm transfer in use', () => {
  it('wait in line for one that comes back, and are not dialled', async () => {
    await oneReturned();
    const texts = Array.from({ length: 4 }, (_, index) => `visitor ${index}`);
    expect(await Promise.all(texts.map(talk))).toEqual(texts);
    expect(world.dials).toEqual([]);
    expect(device.seen.filter((one) => one.startsWith('assign'))).toHaveLength(5);
  });

  it('are dialled when none comes back for as long, or when the line is long', async () => {
    await oneReturned();
    device.onEnd = () => {}; // its visitor stays
    const staying = new Visitor(tenure.tcp);
    staying.socket.write('staying');
    await device.saw('data staying');
    const texts = Array.from({ length: 8 }, (_, index) => `visitor ${index}`);
    expect(await Promise.all(texts.map(talk))).toEqual(texts);
    expect(world.dials).toHaveLength(8);
    staying.socket.destroy();
  });
});
