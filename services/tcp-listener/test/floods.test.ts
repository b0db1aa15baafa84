import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { Visitor, World } from './world.ts';

const TOLD = 5;
const HELD = 3;
const SHARE = 3;
const RATE = 20;
let world: World;
let listener: ServiceProcess;
let serial = 0;
const named = (): string => {
  serial += 1;
  return `dev-${serial}`;
};

beforeAll(async () => {
  world = await World.start();
  listener = await world.startListener({
    CULVERT_LIMIT_REFUSALS_PER_DEVICE: String(TOLD),
    CULVERT_LIMIT_REFUSED_HELD_PER_DEVICE: String(HELD),
    CULVERT_LIMIT_REFUSED_MS: '1000',
    CULVERT_LIMIT_VISITORS_PER_ADDRESS: String(SHARE),
    CULVERT_LIMIT_NEW_VISITORS_PER_DEVICE: String(RATE),
    CULVERT_LIMIT_VISITOR_IDLE_MS: '800',
    CULVERT_LIMIT_WIND_DOWN_MS: '1000',
  });
  world.echo();
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});
beforeEach(() => world.echo());

/** How a visitor from that address is ended, or `greeted` once its word came back. */
function visit(port: number, localAddress = '127.0.0.1'): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    socket.once('close', () => resolve('closed'));
    socket.once('data', () => {
      resolve('greeted');
      socket.destroy();
    });
    socket.write('hello');
  });
}

/** Many at once, each again and again, until the kernel refuses one: it does so only for a while. */
async function flood(port: number): Promise<void> {
  const until = performance.now() + 10_000;
  let refused = false;
  const comeAgain = async (): Promise<void> => {
    while (!refused && performance.now() < until) if ((await visit(port)) === 'ECONNREFUSED') refused = true;
  };
  await Promise.all(Array.from({ length: 4 * (TOLD + HELD) }, comeAgain));
  expect(refused, 'the kernel refused none').toBe(true);
}

const failures = (device: string): number =>
  world.events.filter(({ type, subject }) => type === 'conn.failed' && subject === device).length;

describe('visitors who are refused', () => {
  it('too often wait for their reset, so that who comes again at once comes seldom', async () => {
    const tenure = await world.bound(named(), { policy: { visitors_per_second: 1 } });
    const from = performance.now();
    let visits = 0;
    for (; performance.now() - from < 2_500; visits += 1) await visit(tenure.tcp);
    expect(visits).toBeLessThan(5 * TOLD);
  });

  it('faster than can be told close their port to everybody for a while, and to nobody else', async () => {
    const tenure = await world.bound(named(), { policy: { visitors_per_second: 1 } });
    const other = await world.bound(named());
    expect(await visit(tenure.tcp)).toBe('greeted');
    await flood(tenure.tcp);
    expect(await visit(other.tcp)).toBe('greeted');
    await eventually('the port to be open again', async () => ((await visit(tenure.tcp)) === 'greeted' ? true : undefined));
  });

  it('are all counted, and the first of them told of', async () => {
    const tenure = await world.bound(named(), { policy: { allow: [{ port: 22, from: ['192.0.2.0/24'] }] } });
    const before = await metricOf(listener, 'culvert_visitors_total', 'outcome="not_allowed"');
    const MANY = 60;
    const endings = await Promise.all(Array.from({ length: MANY }, () => visit(tenure.tcp)));
    expect(endings.filter((ending) => ending === 'greeted')).toEqual([]);
    await eventually('all to be counted', async () => {
      const count = await metricOf(listener, 'culvert_visitors_total', 'outcome="not_allowed"');
      return count - before === MANY ? true : undefined;
    });
    await eventually('the first to be told of', () => (failures(tenure.device) >= TOLD ? true : undefined));
    expect(failures(tenure.device)).toBeLessThan(MANY / 2);
  });

  it('because they are not allowed do not close the port to those who are', async () => {
    const tenure = await world.bound(named(), { policy: { allow: [{ port: 22, from: ['127.0.0.2'] }] } });
    await Promise.all(Array.from({ length: 4 * TOLD }, () => visit(tenure.tcp)));
    expect(await visit(tenure.tcp, '127.0.0.2')).toBe('greeted');
  });

  it('find the port open as soon as the device is bound anew', async () => {
    const name = named();
    const tenure = await world.bound(name, { state: 'grace' });
    await flood(tenure.tcp);
    expect((await world.bind({ ...tenure, rev: 2, state: 'held' })).ok).toBe(true);
    expect(await visit(tenure.tcp)).toBe('greeted');
  });
});

describe('visitors of one device', () => {
  it('from one address leave places to those from others', async () => {
    const tenure = await world.bound(named(), { policy: { idle_seconds: 60 } });
    const held = Array.from({ length: SHARE }, () => new Visitor(tenure.tcp));
    for (const visitor of held) visitor.socket.write('x');
    await eventually('all to be served', () => (held.every((visitor) => visitor.text() === 'x') ? true : undefined));
    await expect(visit(tenure.tcp)).resolves.not.toBe('greeted');
    expect(await visit(tenure.tcp, '127.0.0.2')).toBe('greeted');
    held[0]?.socket.resetAndDestroy();
    await eventually('a place to be free', async () => ((await visit(tenure.tcp)) === 'greeted' ? true : undefined));
    for (const { socket } of held) socket.destroy();
  });

  it('share as the policy says, where it says so', async () => {
    const tenure = await world.bound(named(), { policy: { visitors_per_address: 1, idle_seconds: 60 } });
    const first = new Visitor(tenure.tcp);
    first.socket.write('x');
    await eventually('the first to be served', () => (first.text() === 'x' ? true : undefined));
    await expect(visit(tenure.tcp)).resolves.not.toBe('greeted');
    first.socket.destroy();
  });

  it('come at the standard rate when the policy names none', async () => {
    const tenure = await world.bound(named());
    const from = performance.now();
    const endings = await Promise.all(Array.from({ length: 3 * RATE }, (_, i) => visit(tenure.tcp, `127.0.1.${i + 1}`)));
    const greeted = endings.filter((ending) => ending === 'greeted').length;
    expect(greeted).toBeGreaterThanOrEqual(RATE);
    expect(greeted).toBeLessThanOrEqual(RATE * (1 + (performance.now() - from) / 1000));
  });
});

describe('a silent visitor', () => {
  it('is ended after its time, and one who speaks is not', async () => {
    const tenure = await world.bound(named());
    const [silent, speaker, atTheEdgesPort] = [new Visitor(tenure.tcp), new Visitor(tenure.tcp), new Visitor(tenure.http)];
    for (const { socket } of [silent, speaker, atTheEdgesPort]) socket.write('x');
    const speech = setInterval(() => speaker.socket.write('.'), 50);
    try {
      await silent.reset();
      await atTheEdgesPort.end();
      expect(speaker.closed).toBe(false);
    } finally {
      clearInterval(speech);
      speaker.socket.destroy();
    }
    const event = await eventually('the event', () =>
      world.events.find(
        ({ subject, data }) => subject === tenure.device && (data as { outcome?: string }).outcome === 'idle_timeout',
      ),
    );
    expect(event.type).toBe('conn.closed');
  });

  it('may stay as long as the policy says', async () => {
    const tenure = await world.bound(named(), { policy: { idle_seconds: 60 } });
    const [patient, witness] = [new Visitor(tenure.tcp), new Visitor((await world.bound(named())).tcp)];
    for (const { socket } of [patient, witness]) socket.write('x');
    await eventually('both to be served', () => (patient.text() === 'x' && witness.text() === 'x' ? true : undefined));
    await witness.reset();
    expect(patient.closed).toBe(false);
    patient.socket.destroy();
  });
});
