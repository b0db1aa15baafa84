import { randomBytes } from 'node:crypto';
import { createDeviceToken, digestOf } from '@culvert/service-kit';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventually, metricOf, type ServiceProcess } from '../../../test/harness/service.ts';
import { WarmDevice } from './warm-device.ts';
import { type Bind, LISTENER, Visitor, World } from './world.ts';

type Bound = Bind & { tcp: number; http: number };

const ACCEPT_MS = 400;
const DIAL_MS = 1_500;

let world: World;
let listener: ServiceProcess;
let serial = 0;
let tenure: Bound;
const opened: WarmDevice[] = [];

beforeAll(async () => {
  world = await World.start();
  listener = await world.startListener({
    CULVERT_HEARTBEAT: '1s',
    CULVERT_TRANSFER_URL: 'wss://transfers.example.com',
    CULVERT_LIMIT_DIAL_MS: String(DIAL_MS),
    CULVERT_LIMIT_INSTANCE_RENEW_MS: '200',
    CULVERT_LIMIT_RECONNECTING_MS: '3000',
    CULVERT_LIMIT_WARM_ACCEPT_MS: String(ACCEPT_MS),
    CULVERT_LIMIT_WARM_PER_DEVICE: '3',
    CULVERT_LIMIT_WARM_PER_LISTENER: '4',
    CULVERT_LIMIT_WARM_RECENT_MS: '4000',
    CULVERT_LIMIT_WRITE_MS: '2000',
  });
});
afterAll(async () => {
  await listener?.stop();
  await world?.stop();
});
afterEach(async () => {
  world.onDial = () => {};
  for (const device of opened.splice(0)) device.ws.terminate();
  await world.bus.requestOf(LISTENER, 'listener.unbind', { device: tenure.device, epoch: tenure.epoch });
  await eventually('nothing waits', async () => (await waiting()) === 0);
});

const waiting = (): Promise<number> => metricOf(listener, 'culvert_warm_transfers_waiting');

/** A device that had a visitor a moment ago, by a dial. */
async function visited(changes: Partial<Bind> = {}): Promise<Bound> {
  serial += 1;
  tenure = await world.bound(`warm-${serial}`, { warm: 2, ...changes });
  world.echo();
  await talk('hello');
  world.onDial = () => {};
  world.dials.length = 0;
  return tenure;
}

async function warm(generation?: string): Promise<WarmDevice> {
  const device = await WarmDevice.open(world, generation);
  opened.push(device);
  return device;
}

/** One visitor that says something, ends, and must get the same back. */
async function talk(text: string, port = tenure.tcp): Promise<void> {
  const visitor = new Visitor(port);
  visitor.socket.end(text);
  await visitor.end();
  expect(visitor.text()).toBe(text);
}

describe('a warm transfer is granted', () => {
  it('to a device that had a visitor, as many as it asked for', async () => {
    await visited();
    await warm();
    await warm();
    expect(await waiting()).toBe(2);
    expect(await new WarmDevice(world).refused()).toEqual({ status: 429, code: 'rate_limited', retryAfter: 15 });
  });

  it('up to the most that a device may have', async () => {
    await visited({ warm: 64 });
    for (let count = 0; count < 3; count += 1) await warm();
    expect((await new WarmDevice(world).refused()).status).toBe(429);
  });

  it('up to the budget of the listener', async () => {
    await visited({ warm: 3 });
    for (let count = 0; count < 3; count += 1) await warm();
    const other = createDeviceToken();
    const first = tenure;
    const second = await world.bound('warm-other', { warm: 3, token_digests: [digestOf(other)] });
    new Visitor(second.tcp).socket.end();
    const fourth = await eventually('a grant to the second device', async () => {
      const device = new WarmDevice(world, other);
      await new Promise((done) => device.ws.once('open', done).once('unexpected-response', done));
      return device.ws.readyState === device.ws.OPEN ? device : undefined;
    });
    opened.push(fourth);
    expect(await new WarmDevice(world, other).refused()).toEqual({ status: 503, code: 'unavailable', retryAfter: 15 });
    await world.bus.requestOf(LISTENER, 'listener.unbind', { device: second.device, epoch: second.epoch });
    tenure = first;
  });

  it.each<[string, Partial<Bind>, boolean, number]>([
    ['without a visitor', { warm: 2 }, false, 429],
    ['that asked for none', { warm: 0 }, true, 429],
    ['that is reconnecting', { warm: 2, state: 'reconnecting' }, false, 503],
    ['in grace', { warm: 2, state: 'grace' }, false, 503],
  ])('not to a device %s', async (_what, changes, comes, status) => {
    if (comes) await visited(changes);
    else {
      serial += 1;
      tenure = await world.bound(`warm-${serial}`, changes);
    }
    const refusal = await new WarmDevice(world).refused();
    expect(refusal.status).toBe(status);
    expect(refusal.retryAfter).toBeGreaterThanOrEqual(5);
  });

  it('not for an unknown token, and not at another listener', async () => {
    await visited();
    expect((await new WarmDevice(world, createDeviceToken()).refused()).status).toBe(401);
    expect((await new WarmDevice(world, undefined, 'tcp-listener-9').refused()).status).toBe(404);
  });

  it('until nobody has come for a while: then it is given back', async () => {
    await visited();
    const device = await warm();
    expect(await device.close()).toMatchObject({ code: 1000 });
    expect(await waiting()).toBe(0);
  });
});

describe('warm transfers through workers of an edge that end', () => {
  const ENDING = '00000000000000e1';
  const STAYING = '00000000000000e2';
  let redis: Redis;
  beforeAll(() => {
    redis = new Redis(world.redis.url);
  });
  afterEach(() => redis.del('edge:retired'));
  afterAll(() => redis.disconnect());

  it('are closed, the others stay, and those that come through them all the same do not stay either', async () => {
    await visited({ warm: 3 });
    const [ending, staying, direct] = [await warm(ENDING), await warm(STAYING), await warm()];
    await redis.zadd('edge:retired', Date.now() - 1, STAYING, Date.now() + 60_000, ENDING);
    expect((await ending.close()).code).toBe(4415);
    expect((await (await warm(ENDING)).close()).code).toBe(4415);
    expect([staying.closed, direct.closed, await waiting()]).toEqual([undefined, undefined, 2]);
  });

  it('serve the visitor that they have to the end, and no other', async () => {
    await visited();
    const ending = (await warm(ENDING)).echo();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('before');
    await ending.saw('data before');
    const other = await warm(ENDING);
    await redis.zadd('edge:retired', Date.now() + 60_000, ENDING);
    await other.close();
    visitor.socket.end(', and after');
    await visitor.end();
    expect(visitor.text()).toBe('before, and after');
    expect((await ending.close()).code).toBe(4411);
    expect(ending.seen.filter((one) => one.startsWith('assign'))).toHaveLength(1);
  });
});

describe('the key of a tenure, given out where the listener is published', () => {
  it('opens transfers in place of the token for as long as the epoch lasts, and for this device only', async () => {
    await visited();
    const direct = async (): Promise<{ url: string; key: string }> => {
      const reply = await world.bind(tenure);
      if (!reply.ok || reply.direct === undefined) throw new Error('no direct address was given');
      return reply.direct;
    };
    const { url, key } = await direct();
    expect(url).toBe('wss://transfers.example.com');
    expect((await direct()).key).toBe(key);
    const granted = new WarmDevice(world, key);
    opened.push(granted);
    await eventually('the grant', async () => (await waiting()) === 1);
    tenure = { ...tenure, epoch: world.nextEpoch() };
    const next = (await direct()).key;
    expect(next).not.toBe(key);
    expect((await new WarmDevice(world, key).refused()).status).toBe(401);
    const dialled = new Visitor(tenure.http);
    granted.ws.terminate();
    dialled.socket.write('x');
    await eventually('the dial', () => world.dials.at(-1));
    expect(await world.transfer(world.dials.at(-1)?.path ?? '', key).answered()).toBe(401);
    expect(await world.transfer(world.dials.at(-1)?.path ?? '', next).answered()).toBe(101);
    dialled.socket.destroy();
  });
});

describe('a visitor of a device with a warm transfer', () => {
  it('is served without a dial, one after the other on the same transfer, and gets its own bytes only', async () => {
    await visited();
    const device = (await warm()).echo();
    for (let count = 0; count < 50; count += 1) {
      await eventually('the transfer is idle', async () => (await waiting()) === 1);
      await talk(`visitor ${count} ${randomBytes(64).toString('hex')}`);
    }
    expect(world.dials).toEqual([]);
    expect(device.seen.filter((one) => one.startsWith('assign'))).toHaveLength(50);
    const outcomes = world.events.filter(({ subject }) => subject === tenure.device).map(({ data }) => data);
    expect(outcomes.every((data) => (data as { outcome: string }).outcome === 'ok')).toBe(true);
  });

  it('is dialled when all warm ones are taken', async () => {
    await visited();
    (await warm()).onAssign = () => {};
    const first = new Visitor(tenure.tcp);
    await eventually('the transfer is taken', async () => (await waiting()) === 0);
    world.echo();
    await talk('second');
    expect(world.dials).toHaveLength(1);
    first.socket.destroy();
  });

  it('keeps a half-close, and hears a target that speaks first', async () => {
    await visited();
    const device = await warm();
    device.onAssign = () => device.say('accepted').binary('220 welcome\r\n');
    const visitor = new Visitor(tenure.tcp);
    await eventually('the greeting', () => visitor.text() === '220 welcome\r\n');
    visitor.socket.end('question');
    await device.saw('end');
    device.binary('late answer').end().say('idle');
    await visitor.end();
    expect(visitor.text()).toBe('220 welcome\r\nlate answer');
    await eventually('it is idle', async () => (await waiting()) === 1);
  });

  it('is served by http ports too, and answered for a refusal, after which the transfer serves the next', async () => {
    await visited();
    const device = await warm();
    device.onAssign = () => device.say('refused', { code: 'local_refused' });
    const refused = new Visitor(tenure.http);
    refused.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await refused.end();
    expect(refused.text()).toMatch(/^HTTP\/1.1 502 Bad Gateway\r\nCulvert-Outcome: local_refused\r\n/);
    device.echo();
    await talk('next');
    expect(world.dials).toEqual([]);
  });

  it('is dialled with all it had said, when the device does not accept in time', async () => {
    await visited();
    const silent = await warm();
    const before = performance.now();
    world.echo();
    await talk('kept, not lost');
    expect(performance.now() - before).toBeGreaterThan(ACCEPT_MS * 0.9);
    expect(await silent.close()).toMatchObject({ code: 4424 });
    expect(world.dials).toHaveLength(1);
  });

  it('is not eaten by a frozen device: it ends at its deadline, and the next does not wait for the other warm ones', async () => {
    await visited();
    const [first, second] = [await warm(), await warm()];
    for (const device of [first, second]) device.ws.pause();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('anybody?');
    expect((await visitor.reset()).code).toBe('ECONNRESET');
    const event = await eventually('conn.failed', () =>
      world.events.find(({ subject, type }) => subject === tenure.device && type === 'conn.failed'),
    );
    const { outcome, wait_ms: waited } = event.data as { outcome: string; wait_ms: number };
    expect(outcome).toBe('dial_timeout');
    expect(waited).toBeLessThan(DIAL_MS + ACCEPT_MS + 5_000);
    world.echo();
    const offers = await metricOf(listener, 'culvert_warm_offers_total', 'outcome="dial_timeout"');
    await talk('by dial, at once');
    expect(await metricOf(listener, 'culvert_warm_offers_total', 'outcome="dial_timeout"')).toBe(offers);
  });

  it('goes to the next warm one when the first breaks under it', async () => {
    await visited();
    (await warm()).echo();
    const broken = await warm();
    broken.onAssign = () => broken.ws.terminate();
    await talk('safe');
    expect(world.dials).toEqual([]);
  });

  it('who leaves before it is accepted closes the transfer', async () => {
    await visited();
    const device = await warm();
    const visitor = new Visitor(tenure.tcp);
    await device.saw('assign');
    visitor.socket.resetAndDestroy();
    expect(await device.close()).toMatchObject({ code: 4430 });
  });
});

describe('a device that breaks the rules', () => {
  const accepted: Record<string, (device: WarmDevice) => void> = {
    'bytes after END': (d) => d.end().binary('for the next visitor'),
    'END twice': (d) => d.end().end(),
    'idle too early': (d) => d.say('idle'),
    'idle before the other END': (d) => d.end().say('idle'),
    'bytes after idle': (d) => d.end().say('idle').binary('for the next visitor'),
    'idle for another': (d) => d.say('idle', { id: 'another' }),
  };
  it.each(Object.entries(accepted))('by %s never reaches the next visitor', async (name, act) => {
    await visited();
    const device = await warm();
    device.onAssign = () => device.say('accepted');
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('x');
    await device.saw('data x');
    if (name === 'bytes after idle') {
      visitor.socket.end();
      await device.saw('end');
    }
    act(device);
    const next = new Visitor(tenure.tcp); // races with the violation
    next.socket.on('data', () => {});
    expect(await device.close()).toMatchObject({ code: 4400 });
    await visitor.end();
    world.echo();
    await talk('clean');
    expect(next.text()).toBe('');
    next.socket.destroy();
  });

  it('by a reset in between is never given another visitor', async () => {
    await visited();
    const device = await warm();
    device.onAssign = () => device.say('accepted').binary('partial');
    const visitor = new Visitor(tenure.tcp);
    await eventually('bytes', () => visitor.text() === 'partial');
    visitor.socket.resetAndDestroy();
    expect(await device.close()).toMatchObject({ code: 4430 });
    world.echo();
    await talk('clean');
    expect(world.dials).toHaveLength(1);
  });

  it('by a reset at every offer, with the next one open before, does not keep a visitor for ever', async () => {
    await visited();
    let over = false;
    const hostile = async (): Promise<void> => {
      const device = await warm();
      device.onAssign = () => {
        if (over) return;
        hostile().then(
          () => device.ws.terminate(),
          () => {},
        );
      };
    };
    await hostile();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('anybody?');
    expect((await visitor.reset()).code).toBe('ECONNRESET');
    over = true;
    const failed = await eventually('conn.failed', () =>
      world.events.find(({ subject, type }) => subject === tenure.device && type === 'conn.failed'),
    );
    expect((failed.data as { outcome: string }).outcome).toBe('dial_timeout');
    expect(await metricOf(listener, 'culvert_warm_offers_total', 'outcome="peer_reset"')).toBeGreaterThan(5);
  });

  it('by bytes to a visitor who waits for them no more, under load, harms nobody', async () => {
    await visited({ warm: 3 });
    let turn = 0;
    let over = false;
    const hostile = async (): Promise<void> => {
      const device = (await warm()).echo();
      device.onEnd = () => {
        turn += 1;
        if (turn % 7 === 0) device.end().binary('stray').say('idle');
        else if (turn % 11 === 0) device.end().end().say('idle');
        else if (turn % 13 === 0) device.say('idle').end();
        else if (turn % 17 === 0) device.ws.terminate();
        else device.end().say('idle');
      };
      device.ws.on('close', () => {
        if (!over) hostile().catch(() => {}); // not granted: the others go on
      });
    };
    await Promise.all([hostile(), hostile(), hostile()]);
    world.echo();
    for (let round = 0; round < 20; round += 1) {
      await Promise.all(
        Array.from({ length: 6 }, async (_, at) => {
          const text = `${round}/${at} ${randomBytes(200).toString('hex')}`;
          const visitor = new Visitor(tenure.tcp);
          visitor.socket.end(text);
          await visitor.end();
          expect(text.startsWith(visitor.text())).toBe(true); // its own bytes, or a reset after a part of them
        }),
      );
    }
    over = true;
    expect(turn).toBeGreaterThan(17);
  });
});

describe('the warm transfers of a tenure', () => {
  const bindNext = (changes: Partial<Bind>): Promise<unknown> => {
    tenure = { ...tenure, epoch: world.nextEpoch(), ...changes };
    return world.bind(tenure);
  };

  it('go on when the same agent moves, and serve while it reconnects', async () => {
    await visited();
    (await warm()).echo();
    await bindNext({ mode: 'carry', state: 'reconnecting', rev: 2 });
    await talk('while reconnecting');
    await bindNext({ mode: 'carry', state: 'held' });
    await eventually('it is idle', async () => (await waiting()) === 1);
    await talk('moved');
    expect(world.dials).toEqual([]);
  });

  it('are superseded by another boot; one that serves does so to its end, then closes', async () => {
    await visited();
    const [idle, serving] = [await warm(), await warm()];
    serving.echo();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.write('hello');
    await eventually('the echo', () => visitor.text() === 'hello');
    await bindNext({ mode: 'replace' });
    expect(await idle.close()).toMatchObject({ code: 4411 });
    visitor.socket.end(' again');
    await visitor.end();
    expect(visitor.text()).toBe('hello again');
    expect(await serving.close()).toMatchObject({ code: 4411 });
  });

  it('give a visitor back who was not accepted yet, when another boot takes over', async () => {
    await visited();
    const device = await warm();
    const visitor = new Visitor(tenure.tcp);
    visitor.socket.end('hello');
    await device.saw('assign');
    world.echo();
    await bindNext({ mode: 'replace' });
    await visitor.end();
    expect(visitor.text()).toBe('hello');
    expect(world.dials).toHaveLength(1);
  });

  it.each<[string, number, () => Promise<unknown>]>([
    ['in grace', 4425, () => bindNext({ state: 'grace' })],
    ['when it is cut', 4413, () => world.bus.requestOf(LISTENER, 'listener.cut', { ...tenure, code: 'revoked' })],
  ])('are closed %s', async (_when, code, act) => {
    await visited();
    const device = await warm();
    await act();
    expect(await device.close()).toMatchObject({ code });
    expect(await waiting()).toBe(0);
  });

  it('are pinged at the heartbeat, and closed when nothing comes back', async () => {
    await visited({ warm: 2 });
    const [answers, silent] = [await warm(), await warm()];
    let pings = 0;
    answers.ws.on('ping', () => {
      pings += 1;
    });
    silent.ws.pause();
    await eventually('the silent one is gone', async () => (await waiting()) === 1);
    expect(pings).toBeGreaterThan(0);
  });

  it('serve new visitors while NATS is away', async () => {
    await visited();
    (await warm()).echo();
    await world.nats.kill();
    try {
      for (let count = 0; count < 5; count += 1) {
        await eventually('it is idle', async () => (await waiting()) === 1);
        await talk(`without NATS ${count}`);
      }
    } finally {
      await world.nats.start();
      await eventually('the bus is back', () => world.bus.connected);
    }
  });
});
