import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { AssignMessage } from '@culvert/wire';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bulkThread } from '../src/bulk.ts';
import {
  bulkBytes,
  connectWebSocket,
  type NotTaken,
  SLAB_SIZES,
  type SpliceResult,
  WarmDevice,
  WarmHost,
  type WarmHostOptions,
} from '../src/index.ts';
import {
  Cleanup,
  ending,
  limits,
  once,
  pause,
  RawDevice,
  readAll,
  TARGET,
  tcpPair,
  transferPair,
  UpgradeServer,
  until,
} from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const visitorOf = (id: string) => ({ id, port: 22, visitor: '203.0.113.9:1' });

/** A warm transfer between our own two ends; the device answers by `onAssign`. */
async function warmPair(
  onAssign: (device: WarmDevice, message: AssignMessage) => void,
  options: Partial<WarmHostOptions> = {},
): Promise<{ host: WarmHost; device: WarmDevice }> {
  const upgrades = await UpgradeServer.start(cleanup);
  const [raw, upgraded] = await Promise.all([connectWebSocket({ ...TARGET, port: upgrades.port }), upgrades.next()]);
  const host = new WarmHost(upgraded.socket, { head: upgraded.head, ...options });
  const device: WarmDevice = new WarmDevice(raw.socket, { head: raw.head, onAssign: (message) => onAssign(device, message) });
  cleanup.add(host, () => host.transfer.cut());
  cleanup.add(device, () => device.transfer.cut());
  return { host, device };
}

async function rawPair(options: Partial<WarmHostOptions> = {}): Promise<{ host: WarmHost; device: RawDevice }> {
  const { device, upgraded } = await RawDevice.connect(cleanup);
  const host = new WarmHost(upgraded.socket, { head: upgraded.head, ...options });
  cleanup.add(host, () => host.transfer.cut());
  return { host, device };
}

function notTaken(result: SpliceResult | NotTaken): NotTaken {
  if (result.outcome !== 'not_taken') throw new Error(`expected not_taken, got ${result.outcome}`);
  return result;
}

/** Serves a visitor who was given back by a classic transfer, with an answer; resolves with all that its target got. */
async function servedByDial({ tcp, early }: NotTaken, visitor: net.Socket): Promise<Buffer> {
  const { server, client } = await transferPair(cleanup);
  const local = await tcpPair(cleanup);
  const atServer = server.splice(tcp, { early });
  client.splice(local.inside);
  const got = await readAll(local.outside);
  local.outside.end('answer');
  expect((await readAll(visitor)).toString()).toBe('answer');
  expect(await atServer).toEqual({ outcome: 'ok', toDevice: got.length, toVisitor: 6 });
  return got;
}

describe('a warm transfer', () => {
  it('closes behind the last bytes of its visitor, however slowly the device takes them', async () => {
    const { host, device } = await rawPair({ limits: limits({ CLOSE_MS: 100 }) });
    const visitor = await tcpPair(cleanup);
    const taken = host.offer(visitor.inside, visitorOf('a'));
    visitor.outside.end('question');
    await device.saw('{"type":"assign"');
    device.message({ type: 'accepted', id: 'a' });
    await device.saw('end');
    device.socket.pause();
    for (let i = 0; i < 100_000; i++) host.transfer.send({ type: 'idle', id: 'v'.repeat(64) });
    await until('the kernel takes no more', () => host.transfer.unflushed > 0);
    device.end();
    expect((await taken).outcome).toBe('ok');
    host.transfer.cut();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(host.transfer.unflushed).toBeGreaterThan(0);
    device.socket.resume();
    await device.saw('close 1000 bye');
  });

  it.each([
    { what: 'a few bytes', up: 9000, down: 11_000 },
    { what: 'bulk', up: 900_001, down: 1_100_001 },
  ])('carries one visitor after the other, and no byte of one to the next: $what', async ({ what, up, down }) => {
    if (what === 'bulk' && process.platform === 'linux')
      await until('the bulk thread runs', () => bulkThread() !== undefined, 20_000);
    const before = bulkBytes().moved;
    const locals: net.Socket[] = [];
    let idle = 0;
    const { host } = await warmPair(
      async (device) => {
        const { outside, inside } = await tcpPair(cleanup);
        locals.push(outside);
        await device.splice(inside);
      },
      { onIdle: () => idle++ },
    );
    for (let i = 0; i < 20; i++) {
      await until('it is idle', () => host.idle);
      const visitor = await tcpPair(cleanup);
      const [question, answer] = [randomBytes(1 + i * up), randomBytes(1 + i * down)];
      const atHost = host.offer(visitor.inside, visitorOf(`v${i}`));
      visitor.outside.end(question);
      await until('the device has a target', () => locals.length === i + 1);
      const local = locals[i] as net.Socket;
      const [got] = await Promise.all([readAll(local), local.end(answer)]);
      expect(got.equals(question)).toBe(true);
      expect((await readAll(visitor.outside)).equals(answer)).toBe(true);
      expect(await atHost).toEqual({ outcome: 'ok', toDevice: question.length, toVisitor: answer.length });
    }
    await until('the last visitor is served', () => idle === 20);
    if (what === 'bulk' && process.platform === 'linux') expect(bulkBytes().moved).toBeGreaterThan(before);
  });

  it('sends the first bytes of a visitor before the device has answered, and the rest after', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    visitor.outside.write('PUT / ');
    await until('the first bytes are there', () => device.data.length === 6);
    visitor.outside.write('HTTP/1.1\n');
    await until('the next piece is there', () => device.data.length === 15);
    const body = randomBytes(40_000);
    visitor.outside.end(body);
    await pause(50);
    device.ping('x');
    await device.saw('pong x');
    expect(device.data.length).toBeLessThanOrEqual(16_384);
    expect(device.events).not.toContain('end');
    device.message({ type: 'accepted', id: 'a' });
    await device.saw('end');
    expect(device.data.equals(Buffer.concat([Buffer.from('PUT / HTTP/1.1\n'), body]))).toBe(true);
    device.binary('200').end().message({ type: 'idle', id: 'a' });
    expect((await readAll(visitor.outside)).toString()).toBe('200');
    expect(await atHost).toEqual({ outcome: 'ok', toDevice: 40_015, toVisitor: 3 });
    await until('it is idle again', () => host.idle);
  });

  it('gives a refused visitor back, unharmed, for another transfer, and is idle again', async () => {
    let refusals = 0;
    const { host } = await warmPair((device) => {
      refusals++;
      device.refuse('local_refused');
    });
    for (let i = 1; i <= 3; i++) {
      await until('it is idle', () => host.idle);
      const visitor = await tcpPair(cleanup);
      const bytes = randomBytes(400_000);
      visitor.outside.end(bytes);
      const result = notTaken(await host.offer(visitor.inside, visitorOf(`v${i}`)));
      expect(result.code).toBe('local_refused');
      expect(refusals).toBe(i);
      expect((await servedByDial(result, visitor.outside)).equals(bytes)).toBe(true);
    }
  });

  it.each<[string, string, (visitor: net.Socket) => void]>([
    ['with what had come behind its first bytes', 'abcdef', (visitor) => visitor.end('def')],
    ['who has ended after its first bytes', 'abc', (visitor) => visitor.end()],
  ])('gives a refused visitor back %s', async (_what, all, goOn) => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    visitor.outside.write('abc');
    await until('the first bytes are there', () => device.data.length === 3);
    goOn(visitor.outside);
    if (all === 'abc') await until('the end was read', () => visitor.inside.readableEnded);
    device.ping('x');
    await device.saw('pong x');
    device.message({ type: 'refused', id: 'a', code: 'local_refused' });
    expect((await servedByDial(notTaken(await atHost), visitor.outside)).toString()).toBe(all);
  });

  it('has no more of a visitor read, however many devices do not accept it', async () => {
    const visitor = await tcpPair(cleanup);
    visitor.outside.write(Buffer.alloc(4 << 20, 'v'));
    let tcp = visitor.inside;
    let early: Buffer = Buffer.alloc(0);
    const kept: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      const { host, device } = await rawPair();
      const atHost = host.offer(tcp, visitorOf('a'), { early });
      await until('the first bytes are there', () => device.data.length > 0);
      device.message({ type: 'refused', id: 'a', code: 'local_refused' });
      ({ tcp, early } = notTaken(await atHost));
      kept.push(early.length);
    }
    expect(kept[0]).toBeLessThanOrEqual(SLAB_SIZES[0] + SLAB_SIZES[1]);
    expect(kept).toEqual(kept.map(() => kept[0]));
  });

  it('gives the visitor back when the device is silent, and closes', async () => {
    const { host, device } = await rawPair({ limits: limits({ WARM_ACCEPT_MS: 80 }) });
    const visitor = await tcpPair(cleanup);
    visitor.outside.write('hello');
    const result = notTaken(await host.offer(visitor.inside, visitorOf('a')));
    expect(result.code).toBe('dial_timeout');
    expect(result.early.toString()).toBe('hello');
    await device.saw('close 4424 dial_timeout');
    expect(host.idle).toBe(false);
  });

  it('gives the visitor back when the device goes before it has accepted', async () => {
    for (const go of [(d: RawDevice) => d.socket.resetAndDestroy(), (d: RawDevice) => d.close(1000)]) {
      const { host, device } = await rawPair();
      const visitor = await tcpPair(cleanup);
      const offered = host.offer(visitor.inside, visitorOf('a'));
      await device.saw('{"type":"assign"');
      go(device);
      const result = notTaken(await offered);
      visitor.outside.write('still here');
      const { server, client } = await transferPair(cleanup);
      const local = await tcpPair(cleanup);
      server.splice(result.tcp, { early: result.early });
      client.splice(local.inside);
      expect(String((await once(local.outside, 'data'))[0])).toBe('still here');
    }
  });

  it('takes idle before its own last byte is flushed, and is idle only afterwards', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    visitor.outside.pause();
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    visitor.outside.end();
    device.message({ type: 'accepted', id: 'a' });
    await device.saw('end');
    const bytes = randomBytes(12_000_000);
    for (let at = 0; at < bytes.length; at += 1 << 20) device.binary(bytes.subarray(at, at + (1 << 20)));
    device.end().message({ type: 'idle', id: 'a' });
    await until('the visitor holds it up', () => host.transfer.unflushed > 0);
    expect(host.idle).toBe(false);
    expect((await readAll(visitor.outside)).equals(bytes)).toBe(true);
    expect((await atHost).outcome).toBe('ok');
    await until('it is idle', () => host.idle);
    const next = await tcpPair(cleanup);
    host.offer(next.inside, visitorOf('b'));
    await device.saw('{"type":"assign","id":"b"');
  });

  it('is never used again after a visitor that broke', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    device.message({ type: 'accepted', id: 'a' });
    visitor.outside.write('x');
    await until('bytes flow', () => device.data.length === 1);
    visitor.outside.resetAndDestroy();
    expect((await atHost).outcome).toBe('visitor_reset');
    await device.saw('close 4430 peer_reset');
    expect(host.idle).toBe(false);
  });

  it('throws away what was on its way to a refused visitor', async () => {
    const locals: net.Socket[] = [];
    const { host } = await warmPair(async (device, message) => {
      if (message.id === 'first') return device.refuse('busy');
      const { outside, inside } = await tcpPair(cleanup);
      locals.push(outside);
      await device.splice(inside);
    });
    const first = await tcpPair(cleanup);
    first.outside.write('secret of the first');
    notTaken(await host.offer(first.inside, visitorOf('first')));
    const second = await tcpPair(cleanup);
    host.offer(second.inside, visitorOf('second'));
    second.outside.end('second');
    await until('the second has a target', () => locals.length === 1);
    expect((await readAll(locals[0] as net.Socket)).toString()).toBe('second');
  });

  it('tells the visitor apart that left before it was accepted', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    await device.saw('{"type":"assign"');
    visitor.outside.resetAndDestroy();
    expect((await atHost).outcome).toBe('visitor_reset');
    await device.saw('close 4430');
  });
});

describe('a message that bytes are likely to follow', () => {
  /** What was put off; it is not done unless the test does it. */
  let putOff: (() => void)[];
  beforeEach(async () => {
    await pause(20); // what the tests before have put off is over
    putOff = [];
    vi.stubGlobal('setTimeout', (late: () => void) => putOff.push(late));
  });
  afterEach(() => vi.unstubAllGlobals());
  /** Time passes until nothing is put off any more. */
  const pass = (): void => {
    while (putOff.length > 0) putOff.shift()?.();
  };

  it('waits for them, and comes alone in the end', async () => {
    const { host, device } = await rawPair();
    let chunks = 0;
    device.socket.on('data', () => chunks++);
    const asking = await tcpPair(cleanup);
    void host.offer(asking.inside, visitorOf('asks'));
    await pause(20);
    expect(chunks).toBe(0);
    asking.outside.write('GET /');
    await device.saw('{"type":"assign","id":"asks"');
    expect(device.data.toString()).toBe('GET /');
    expect(chunks).toBe(1);
    pass();

    const other = await rawPair();
    const silent = await tcpPair(cleanup);
    void other.host.offer(silent.inside, visitorOf('silent'));
    pass();
    await other.device.saw('{"type":"assign","id":"silent"');
  });

  it('does not wait for visitors where devices speak first, after the first of them', async () => {
    const { host, device } = await rawPair();
    const visit = async (id: string, meanwhile: () => void): Promise<void> => {
      const visitor = await tcpPair(cleanup);
      const over = host.offer(visitor.inside, visitorOf(id));
      meanwhile();
      await device.saw(`{"type":"assign","id":"${id}"`);
      device.message({ type: 'accepted', id }).binary('220 hello');
      await once(visitor.outside, 'data');
      visitor.outside.end('QUIT');
      await until('all of it has come', () => device.data.toString().endsWith('QUIT'));
      device.data = Buffer.alloc(0);
      device.end().message({ type: 'idle', id });
      await over;
    };
    await visit('first', pass);
    await visit('second', () => {});
    expect(putOff).toEqual([]);
  });

  it('does not wait while the peer has more to say that waits for it', async () => {
    const question = randomBytes(100_000);
    const local = await tcpPair(cleanup);
    let got = 0;
    local.outside.on('data', (chunk: Buffer) => (got += chunk.length));
    const { host } = await warmPair((device) => void device.splice(local.inside));
    const visitor = await tcpPair(cleanup);
    visitor.outside.write(question);
    void host.offer(visitor.inside, visitorOf('much'));
    await until('all of it has come, and its target has said nothing', () => got === question.length);
    expect(putOff).not.toEqual([]);
  });
});

describe('a device that breaks the rules of warm transfers', () => {
  const cases: Record<string, (device: RawDevice) => void> = {
    'data while idle': (d) => d.binary('x'),
    'END while idle': (d) => d.end(),
    'accepted while idle': (d) => d.message({ type: 'accepted', id: 'a' }),
    'idle while idle': (d) => d.message({ type: 'idle', id: 'a' }),
    'a control message': (d) => d.message({ type: 'wind_down', reconnect_ms: 1 }),
  };
  for (const [name, act] of Object.entries(cases)) {
    it(`by ${name} is closed with 4400`, async () => {
      const { host, device } = await rawPair();
      act(device);
      await device.saw('close 4400 protocol_error');
      expect(host.idle).toBe(false);
    });
  }

  const accepted: Record<string, (device: RawDevice) => void> = {
    'bytes after END': (d) => d.end().binary('x'),
    'END twice': (d) => d.end().end(),
    'idle before any END': (d) => d.message({ type: 'idle', id: 'a' }),
    'idle before the other END': (d) => d.end().message({ type: 'idle', id: 'a' }),
    'accepted twice': (d) => d.message({ type: 'accepted', id: 'a' }),
    'refused after accepted': (d) => d.message({ type: 'refused', id: 'a', code: 'busy' }),
    'an unmasked frame': (d) => d.raw(Buffer.from('820161', 'hex')),
  };
  for (const [name, act] of Object.entries(accepted)) {
    it(`by ${name} is closed with 4400, and its visitor reset`, async () => {
      const { host, device } = await rawPair();
      const visitor = await tcpPair(cleanup);
      const atHost = host.offer(visitor.inside, visitorOf('a'));
      device.message({ type: 'accepted', id: 'a' });
      const atVisitor = ending(visitor.outside);
      act(device);
      await device.saw('close 4400 protocol_error');
      expect((await atHost).outcome).toBe('protocol_error');
      expect(await atVisitor).toMatch(/ECONNRESET|end/);
    });
  }

  it('by data before accepted is closed, and the visitor goes elsewhere', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const offered = host.offer(visitor.inside, visitorOf('a'));
    device.binary('x');
    await device.saw('close 4400 protocol_error');
    expect(notTaken(await offered).code).toBe('protocol_error');
  });

  it('by an answer for another visitor is closed, and the visitor goes elsewhere', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const offered = host.offer(visitor.inside, visitorOf('a'));
    device.message({ type: 'accepted', id: 'b' });
    expect(notTaken(await offered).code).toBe('protocol_error');
  });

  it('by idle after it was already idle is closed', async () => {
    const { host, device } = await rawPair();
    const visitor = await tcpPair(cleanup);
    const atHost = host.offer(visitor.inside, visitorOf('a'));
    visitor.outside.end();
    visitor.outside.resume();
    device.message({ type: 'accepted', id: 'a' });
    await device.saw('end');
    device.end().message({ type: 'idle', id: 'a' });
    expect((await atHost).outcome).toBe('ok');
    device.message({ type: 'idle', id: 'a' });
    await device.saw('close 4400 protocol_error');
  });
});

describe('heartbeats of a transfer', () => {
  it('ping the device, and end one that is silent', async () => {
    let gone = '';
    const { device } = await rawPair({ heartbeatMs: 60, onGone: (code) => (gone = code) });
    await device.saw('ping');
    await until('the server gives up', () => gone !== '');
    expect(gone).toBe('heartbeat_lost');
  });

  it('keep a device that answers', async () => {
    const { host, device } = await warmPair(() => {}, { heartbeatMs: 400 }); // given up after a second
    const since = performance.now();
    await until('several heartbeats have passed', () => performance.now() - since > 1_500);
    expect(host.idle).toBe(true);
    expect(device.idle).toBe(true);
  });
});
