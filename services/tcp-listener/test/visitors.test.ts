import { randomBytes } from 'node:crypto';
import { createDeviceToken } from '@culvert/service-kit';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { type DeviceTransfer, LISTENER, SECRET, Visitor, World } from './world.ts';

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
    CULVERT_LIMIT_DIAL_MS: '3000',
    CULVERT_LIMIT_RECONNECTING_MS: '700',
    CULVERT_LIMIT_VISITORS_WAITING_PER_DEVICE: '250',
    CULVERT_LIMIT_WIND_DOWN_MS: '1000',
  });
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});
beforeEach(() => {
  world.onDial = () => {};
  world.dialReply = () => ({ ok: true });
});

/** The transfer of the next dial, opened by hand. */
function nextTransfer(): Promise<DeviceTransfer> {
  const before = world.dials.length;
  return eventually('a dial', () => {
    const dial = world.dials[before];
    return dial === undefined ? undefined : world.transfer(dial.path);
  });
}

describe('a visitor of a tcp endpoint', () => {
  it('reaches the device, bytes flow both ways, and each direction ends by itself', async () => {
    const tenure = await world.bound(named());
    const dialled = nextTransfer();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('hello');
    const transfer = await dialled;
    expect(world.dials.at(-1)).toMatchObject({ device: tenure.device, epoch: tenure.epoch, port: 22, listener: LISTENER });
    expect(world.dials.at(-1)?.visitor).toMatch(/^127\.0\.0\.1:\d+$/);
    await eventually('the greeting', () => transfer.text() === 'hello');
    visitor.socket.end(' and bye');
    await eventually('END', () => transfer.ended);
    expect(transfer.text()).toBe('hello and bye');
    transfer.ws.send(Buffer.from('still here'));
    await eventually('the late answer', () => visitor.text() === 'still here');
    expect(visitor.ended).toBe(false);
    transfer.ws.send(Buffer.alloc(0));
    await visitor.end();
    expect((await eventually('the close', () => transfer.closed)).code).toBe(1000);
    const event = await eventually('conn.closed', () => world.events.find(({ subject }) => subject === tenure.device));
    expect(event).toMatchObject({
      ...{ specversion: '1.0', type: 'conn.closed' },
      data: { outcome: 'ok', to_device: 13, to_visitor: 10, port: 22, public_port: tenure.tcp, listener: LISTENER },
    });
  });

  it('who says nothing is greeted by a server that speaks first', async () => {
    const tenure = await world.bound(named());
    const dialled = nextTransfer();
    const visitor = new Visitor(tenure.tcp);
    const transfer = await dialled;
    transfer.ws.on('open', () => transfer.ws.send(Buffer.from('SSH-2.0-test\r\n')));
    await eventually('the banner', () => visitor.text() === 'SSH-2.0-test\r\n');
    visitor.socket.resetAndDestroy();
    expect((await eventually('the close', () => transfer.closed)).code).toBe(4430);
  });

  it('who has ended its direction before the transfer came still gets the answer', async () => {
    const tenure = await world.bound(named());
    const dialled = nextTransfer();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.end('question');
    await new Promise((done) => visitor.socket.once('finish', done));
    const transfer = await dialled;
    await eventually('END', () => transfer.ended);
    expect(transfer.text()).toBe('question');
    transfer.ws.send(Buffer.from('answer'));
    transfer.ws.send(Buffer.alloc(0));
    await visitor.end();
    expect(visitor.text()).toBe('answer');
  });

  it('who ended its direction without a byte before the transfer came still gets the answer', async () => {
    const tenure = await world.bound(named());
    const before = world.dials.length;
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.end();
    const dial = await eventually('the dial', () => world.dials[before]);
    await new Promise((done) => setTimeout(done, 100)); // the FIN is surely read by now
    const transfer = world.transfer(dial.path);
    await eventually('END', () => transfer.ended);
    transfer.ws.send(Buffer.from('answer'));
    transfer.ws.send(Buffer.alloc(0));
    await visitor.end();
    expect(visitor.text()).toBe('answer');
  });

  it('has a megabyte echoed without a changed bit', async () => {
    world.echo();
    const tenure = await world.bound(named());
    const visitor = new Visitor(tenure.tcp);
    const sent = randomBytes(1 << 20);
    visitor.socket.end(sent);
    await visitor.end();
    expect(Buffer.concat(visitor.chunks).equals(sent)).toBe(true);
  });

  it('is reached over IPv6 too', async () => {
    world.echo();
    const tenure = await world.bound(named());
    const visitor = new Visitor(tenure.tcp, '::1');
    visitor.socket.end('six');
    await visitor.end();
    expect(visitor.text()).toBe('six');
    expect(world.dials.at(-1)?.visitor).toMatch(/^\[::1\]:\d+$/);
  });

  it.each(['local_refused', 'local_timeout', 'not_allowed', 'busy'] as const)(
    'is reset when the device refuses with %s',
    async (code) => {
      const tenure = await world.bound(named());
      world.onDial = ({ device, epoch, id }) =>
        void world.bus.requestOf(LISTENER, 'listener.refused', { device, epoch, id, code });
      const visitor = new Visitor(tenure.tcp);
      expect((await visitor.reset()).code).toBe('ECONNRESET');
      const event = await eventually('conn.failed', () => world.events.find(({ subject }) => subject === tenure.device));
      expect(event).toMatchObject({ type: 'conn.failed', data: { outcome: code } });
    },
  );

  it('who hangs up while it waits is noticed', async () => {
    const tenure = await world.bound(named());
    const before = world.dials.length;
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('some bytes');
    await eventually('the dial', () => world.dials.length > before);
    visitor.socket.resetAndDestroy();
    const event = await eventually('conn.failed', () => world.events.find(({ subject }) => subject === tenure.device));
    expect(event).toMatchObject({ data: { outcome: 'visitor_gone' } });
    const late = world.transfer(world.dials.at(-1)?.path ?? '');
    expect(await late.answered()).toBe(404);
  });

  it('beyond the number of transfers waits in line', async () => {
    const tenure = await world.bound(named(), { transfers: 1 });
    world.echo();
    const first = new Visitor(tenure.tcp);
    first.socket.write('1');
    await eventually('the first echo', () => first.text() === '1');
    const dials = world.dials.length;
    const second = new Visitor(tenure.tcp);
    second.socket.end('2');
    await eventually('a waiting visitor', async () => (await metricOf(listener, 'culvert_visitors_waiting')) === 1);
    expect(world.dials.length).toBe(dials);
    first.socket.end();
    await second.end();
    expect(second.text()).toBe('2');
  });

  it('beyond the number of waiting ones is reset at once', async () => {
    const tenure = await world.bound(named());
    const visitors = Array.from({ length: 260 }, () => new Visitor(tenure.tcp));
    await eventually('ten resets', () => visitors.filter(({ error }) => error !== undefined).length === 10, 1_000);
    for (const visitor of visitors) visitor.socket.resetAndDestroy();
  });

  it('comes with 199 others at once, and all are served', async () => {
    world.echo();
    const tenure = await world.bound(named());
    const visitors = Array.from({ length: 200 }, () => new Visitor(tenure.tcp));
    for (const [index, visitor] of visitors.entries()) visitor.socket.end(`visitor ${index}`);
    await Promise.all(visitors.map((visitor) => visitor.end()));
    expect(visitors.every((visitor, index) => visitor.text() === `visitor ${index}`)).toBe(true);
  });
});

describe('a visitor of an http endpoint', () => {
  const request = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n';
  const answerOf = async (port: number): Promise<string> => {
    const visitor = new Visitor(port);
    visitor.socket.write(request);
    await visitor.end();
    visitor.socket.destroy();
    return visitor.text();
  };

  it.each([
    ['local_refused', 502],
    ['not_allowed', 502],
    ['local_timeout', 504],
    ['busy', 503],
  ] as const)('is answered when the device refuses with %s', async (code, status) => {
    const tenure = await world.bound(named());
    world.onDial = ({ device, epoch, id }) => void world.bus.requestOf(LISTENER, 'listener.refused', { device, epoch, id, code });
    const answer = await answerOf(tenure.http);
    expect(answer).toContain(`HTTP/1.1 ${status} `);
    expect(answer).toContain(
      `\r\nCulvert-Outcome: ${code}\r\nCulvert-Secret: ${SECRET}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    );
    expect(world.dials.at(-1)?.visitor).toMatch(/^edge:/);
  });

  it('is answered 504 when the device never dials', async () => {
    const tenure = await world.bound(named());
    const answer = await answerOf(tenure.http);
    expect(answer).toContain('HTTP/1.1 504 ');
    expect(answer).toContain('Culvert-Outcome: dial_timeout');
    expect(await world.transfer(world.dials.find(({ canary }) => canary !== true)?.path ?? '').answered()).toBe(404);
  });

  it('is answered even while it still sends', async () => {
    const tenure = await world.bound(named());
    world.onDial = ({ device, epoch, id }) =>
      void world.bus.requestOf(LISTENER, 'listener.refused', { device, epoch, id, code: 'local_refused' });
    const visitor = new Visitor(tenure.http);
    visitor.socket.write(Buffer.alloc(1 << 20));
    await eventually('the answer', () => visitor.text().includes('502'));
    visitor.socket.destroy();
  });

  it('is answered 503 at once in grace, and one of the tcp endpoint is reset', async () => {
    const tenure = await world.bound(named(), { state: 'grace' });
    expect(await answerOf(tenure.http)).toContain('HTTP/1.1 503 Service Unavailable\r\nCulvert-Outcome: device_offline');
    expect((await new Visitor(tenure.tcp).reset()).code).toBe('ECONNRESET');
    expect(world.dials.some(({ device }) => device === tenure.device)).toBe(false);
  });
});

describe('a visitor of a device that is reconnecting', () => {
  it('is held, and dialled once the device is back', async () => {
    world.echo();
    const tenure = await world.bound(named(), { state: 'reconnecting' });
    const visitor = new Visitor(tenure.http);
    visitor.socket.write('held');
    await eventually('a waiting visitor', async () => (await metricOf(listener, 'culvert_visitors_waiting')) === 1);
    expect(world.dials.some(({ device }) => device === tenure.device)).toBe(false);
    await world.bind({ ...tenure, epoch: world.nextEpoch(), state: 'held', mode: 'replace' });
    await eventually('the echo', () => visitor.text() === 'held');
    visitor.socket.destroy();
  });

  it('is answered device_offline when the device does not come back in time', async () => {
    const tenure = await world.bound(named(), { state: 'reconnecting' });
    const visitor = new Visitor(tenure.http);
    await visitor.end();
    expect(visitor.text()).toContain('Culvert-Outcome: device_offline');
  });

  it('is dialled again when the device has moved before its former ingress could say so', async () => {
    const tenure = await world.bound(named());
    const former = Promise.withResolvers<{ ok: false; code: string; message: string }>();
    let asked = 0;
    world.dialReply = (dial) => {
      if (dial.epoch !== tenure.epoch) return { ok: true };
      asked += 1;
      return former.promise;
    };
    world.echo();
    const visitor = new Visitor(tenure.http);
    visitor.socket.write('moved');
    await eventually('the first dial', () => asked === 1);
    await world.bind({ ...tenure, epoch: world.nextEpoch(), mode: 'carry' });
    former.resolve({ ok: false, code: 'lease_lost', message: 'not here' });
    await eventually('the echo', () => visitor.text() === 'moved');
    visitor.socket.destroy();
  });

  it('is held as well when only its ingress knows yet that the device is lost', async () => {
    const tenure = await world.bound(named());
    world.dialReply = () => ({ ok: false, code: 'lease_lost', message: 'not here' });
    const visitor = new Visitor(tenure.http);
    visitor.socket.write('held');
    await eventually('a waiting visitor', async () => (await metricOf(listener, 'culvert_visitors_waiting')) === 1);
    world.dialReply = () => ({ ok: true });
    world.echo();
    await world.bind({ ...tenure, epoch: world.nextEpoch() });
    await eventually('the echo', () => visitor.text() === 'held');
    visitor.socket.destroy();
  });
});

describe('a transfer', () => {
  it('with the token of another device, of no device, or for another listener is refused and uses nothing up', async () => {
    const tenure = await world.bound(named());
    const before = world.dials.length;
    const visitor = new Visitor(tenure.tcp);
    const { path } = await eventually('the dial', () => world.dials[before]);
    expect(await world.transfer(path, createDeviceToken()).answered()).toBe(401);
    expect(await world.transfer(path, 'nonsense').answered()).toBe(401);
    expect(await world.transfer(path.replace(LISTENER, 'tcp-listener-2')).answered()).toBe(404);
    expect(await world.transfer('/v1/transfer').answered()).toBe(404);
    const good = world.transfer(path);
    expect(await good.answered()).toBe(101);
    expect(await world.transfer(path).answered()).toBe(404);
    good.ws.send(Buffer.from('unharmed'));
    await eventually('the bytes', () => visitor.text() === 'unharmed');
    visitor.socket.resetAndDestroy();
  });

  it('that breaks off resets the visitor', async () => {
    const tenure = await world.bound(named());
    const dialled = nextTransfer();
    const visitor = new Visitor(tenure.tcp);
    const transfer = await dialled;
    await transfer.answered();
    transfer.ws.terminate();
    expect((await visitor.reset()).code).toBe('ECONNRESET');
  });

  it('that runs is cut when the device is revoked, and not by the end of an older epoch', async () => {
    const tenure = await world.bound(named());
    const dialled = nextTransfer();
    const visitor = new Visitor(tenure.tcp);
    const transfer = await dialled;
    await transfer.answered();
    await eventually('the splice', async () => (await metricOf(listener, 'culvert_visitors_waiting')) === 0);
    const { device, epoch } = tenure;
    const older = { device, epoch: epoch - 1, code: 'revoked' };
    expect(await world.bus.requestOf(LISTENER, 'listener.cut', older)).toEqual({ ok: true, cut: 0 });
    expect(await world.bus.requestOf(LISTENER, 'listener.cut', { ...older, epoch })).toEqual({ ok: true, cut: 1 });
    expect((await eventually('the close', () => transfer.closed)).code).toBe(4413);
    expect((await visitor.reset()).code).toBe('ECONNRESET');
  });

  it('that runs longer than a second is announced', async () => {
    world.echo();
    const tenure = await world.bound(named());
    const visitor = new Visitor(tenure.tcp);
    const opened = await eventually('conn.opened', () => world.events.find(({ subject }) => subject === tenure.device));
    expect(opened.type).toBe('conn.opened');
    visitor.socket.destroy();
    await eventually('conn.closed', () =>
      world.events.some(({ subject, type }) => subject === tenure.device && type === 'conn.closed'),
    );
  });
});

it('nothing is left open', async () => {
  for (const gauge of ['visitors_open', 'visitors_waiting', 'transfers_open', 'dials_pending', 'handshakes_pending']) {
    await eventually(`no ${gauge}`, async () => (await metricOf(listener, `culvert_${gauge}`)) === 0, 4_000);
  }
});
