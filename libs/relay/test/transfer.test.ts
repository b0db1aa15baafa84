import { createHash, randomBytes } from 'node:crypto';
import type net from 'node:net';
import { CulvertError } from '@culvert/contracts';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { sweep, Transfer } from '../src/index.ts';
import { Cleanup, ending, flood, limits, once, RawDevice, readAll, tcpPair, transferPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

async function spliced(options: Parameters<typeof transferPair>[1] = {}, signal?: AbortSignal) {
  const { server, client } = await transferPair(cleanup, options);
  const visitor = await tcpPair(cleanup);
  const local = await tcpPair(cleanup);
  const atServer = server.splice(visitor.inside, { signal });
  const atClient = client.splice(local.inside);
  return { server, client, visitor: visitor.outside, local: local.outside, atServer, atClient };
}

async function pour(socket: net.Socket, chunks: Buffer[]): Promise<void> {
  for (const chunk of chunks) if (!socket.write(chunk)) await once(socket, 'drain');
  socket.end();
}

describe('a transfer', () => {
  it('hands bytes on both ways, and ends when both directions have', async () => {
    const { server, client, visitor, local, atServer, atClient } = await spliced();
    visitor.end('question');
    expect((await readAll(local)).toString()).toBe('question');
    local.end('the answer');
    expect((await readAll(visitor)).toString()).toBe('the answer');
    expect(await atServer).toEqual({ outcome: 'ok', toDevice: 8, toVisitor: 10 });
    expect(await atClient).toEqual({ outcome: 'ok', toDevice: 8, toVisitor: 10 });
    await until('both ends are closed', () => !server.open && !client.open);
  });

  it('is binary clean both ways at once, whatever the chunks and the largest frame', async () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(sizes, sizes, fc.constantFrom(125, 1000, 65_536, 1 << 20), async (up, down, maxFrame) => {
        const { visitor, local, atServer, atClient } = await spliced({ server: { maxFrame }, client: { maxFrame } });
        const sent = [up, down].map((list) => list.map((size) => randomBytes(size))) as [Buffer[], Buffer[]];
        const [atLocal, atVisitor] = await Promise.all([
          readAll(local),
          readAll(visitor),
          pour(visitor, sent[0]),
          pour(local, sent[1]),
        ]);
        expect(sha(atLocal)).toBe(sha(Buffer.concat(sent[0])));
        expect(sha(atVisitor)).toBe(sha(Buffer.concat(sent[1])));
        const totals = { outcome: 'ok', toDevice: atLocal.length, toVisitor: atVisitor.length };
        expect(await atServer).toEqual(totals);
        expect(await atClient).toEqual(totals);
        await cleanup.run();
      }),
      { numRuns: 15 },
    );
  });

  it('keeps the other direction open after a half-close, from either side', async () => {
    for (const first of ['visitor', 'local'] as const) {
      const { visitor, local, atServer } = await spliced();
      const [one, other] = first === 'visitor' ? [visitor, local] : [local, visitor];
      one.end('over');
      expect((await readAll(other)).toString()).toBe('over');
      for (const part of ['much ', 'later']) {
        other.write(part);
        expect(String((await once(one, 'data'))[0])).toBe(part);
      }
      other.end();
      await once(one, 'end');
      expect((await atServer).outcome).toBe('ok');
    }
  });

  it('carries the first word of a target that speaks first', async () => {
    const { visitor, local } = await spliced();
    local.write('SSH-2.0-x\r\n');
    expect(String((await once(visitor, 'data'))[0])).toBe('SSH-2.0-x\r\n');
  });

  it('loses nothing that comes before its TCP side is there, END included', async () => {
    const { server, client } = await transferPair(cleanup);
    const visitor = await tcpPair(cleanup);
    const atServer = server.splice(visitor.inside);
    const early = randomBytes(3_000_000);
    visitor.outside.end(early);
    await until('the visitor is stopped by backpressure', () => server.unflushed > 0 || visitor.outside.writableLength > 0);
    const local = await tcpPair(cleanup);
    const atClient = client.splice(local.inside);
    expect(sha(await readAll(local.outside))).toBe(sha(early));
    local.outside.end();
    expect((await atServer).outcome).toBe('ok');
    expect((await atClient).outcome).toBe('ok');
  });

  it('shares the event loop with others and still moves every byte', async () => {
    const pairs = await Promise.all([1, 2, 3].map(() => spliced({ server: { limits: limits({ TURN_BYTES: 65_536 }) } })));
    const bytes = randomBytes(8_000_000);
    await Promise.all(
      pairs.map(async ({ visitor, local }) => {
        const [got] = await Promise.all([readAll(local), pour(visitor, [bytes])]);
        expect(sha(got)).toBe(sha(bytes));
      }),
    );
  });
});

describe('the end of a transfer to a peer that is slow', () => {
  it('waits until what it has written has left, before its closing handshake has a deadline', async () => {
    const { device, upgraded } = await RawDevice.connect(cleanup);
    const server = new Transfer(upgraded.socket, { head: upgraded.head, role: 'server', limits: limits({ CLOSE_MS: 100 }) });
    const visitor = await tcpPair(cleanup);
    const atServer = server.splice(visitor.inside);
    visitor.outside.end('question');
    await device.saw('end');
    device.socket.pause();
    for (let i = 0; i < 100_000; i++) server.send({ type: 'idle', id: 'v'.repeat(64) });
    await until('the kernel takes no more', () => server.unflushed > 0);
    device.end();
    expect((await atServer).outcome).toBe('ok');
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(server.unflushed).toBeGreaterThan(0);
    device.socket.resume();
    await device.saw('close 1000 bye');
  });
});

describe('a broken transfer', () => {
  it('resets the local target when the visitor resets', async () => {
    const { visitor, local, atServer, atClient } = await spliced();
    visitor.write('x');
    await once(local, 'data');
    visitor.resetAndDestroy();
    expect(await ending(local)).toBe('ECONNRESET');
    expect((await atServer).outcome).toBe('visitor_reset');
    expect((await atClient).outcome).toBe('visitor_reset');
  });

  it('resets the visitor when the local target resets', async () => {
    const { visitor, local, atServer, atClient } = await spliced();
    visitor.write('x');
    await once(local, 'data');
    local.resetAndDestroy();
    expect(await ending(visitor)).toBe('ECONNRESET');
    expect((await atServer).outcome).toBe('peer_reset');
    expect((await atClient).outcome).toBe('peer_reset');
  });

  it('resets even after one direction has ended in order', async () => {
    const { visitor, local, atServer } = await spliced();
    visitor.end('question');
    await readAll(local);
    local.write('half an ans');
    await once(visitor, 'data');
    local.resetAndDestroy();
    expect(await ending(visitor)).toBe('ECONNRESET');
    expect((await atServer).outcome).toBe('peer_reset');
  });

  it('ends with the code of its cut, or of the signal, at both ends', async () => {
    for (const code of ['revoked', 'superseded', 'wind_down'] as const) {
      const stop = new AbortController();
      const { server, visitor, local, atServer, atClient } = await spliced({}, stop.signal);
      const [atVisitor, atLocal] = [ending(visitor), ending(local)];
      if (code === 'wind_down') stop.abort();
      else if (code === 'revoked') stop.abort(new CulvertError(code));
      else server.cut(code);
      expect((await atServer).outcome).toBe(code);
      expect((await atClient).outcome).toBe(code);
      expect(await atVisitor).toBe('ECONNRESET');
      expect(await atLocal).toBe('ECONNRESET');
    }
  });

  it('never rejects for a TCP socket, or a WebSocket, that is gone already', async () => {
    const { server, client } = await transferPair(cleanup);
    const visitor = await tcpPair(cleanup);
    visitor.inside.destroy();
    expect(await server.splice(visitor.inside)).toEqual({ outcome: 'visitor_gone', toDevice: 0, toVisitor: 0 });
    await until('the client has heard of it', () => !client.open);
    const local = await tcpPair(cleanup);
    expect((await client.splice(local.inside)).outcome).toBe('visitor_reset');
    expect(local.inside.destroyed).toBe(true);
  });
});

describe('a peer that does not read', () => {
  it('holds up no more than one read each way, a hundred times over', async () => {
    const all = await Promise.all(Array.from({ length: 100 }, () => spliced()));
    for (const { visitor, local } of all) {
      visitor.pause();
      flood(local);
    }
    const moved = (): number => all.reduce((sum, { local }) => sum + local.bytesWritten - local.writableLength, 0);
    let before = -1;
    let still = 0;
    await until(
      'nothing moves any more',
      () => {
        const now = moved();
        still = now === before ? still + 1 : 0;
        before = now;
        return still > 20;
      },
      90_000, // the kernel's buffers take a gigabyte before
    );
    const header = 14;
    for (const { server, client } of all) {
      expect(server.unflushed).toBeLessThanOrEqual(256 * 1024);
      expect(client.unflushed).toBeLessThanOrEqual(256 * 1024 + header);
    }
  }, 100_000);

  it('is cut by the write deadline when it is frozen', async () => {
    const scaled = limits({ WRITE_MS: 150 });
    const { visitor, local, atServer, atClient } = await spliced({ server: { limits: scaled } });
    visitor.pause();
    flood(local);
    const broken = once(local, 'close');
    expect((await atServer).outcome).toBe('write_timeout');
    expect((await atClient).outcome).toBe('write_timeout');
    await broken;
  });

  it('is cut by the write deadline when it is the device', async () => {
    const { server } = await transferPair(cleanup, { server: { limits: limits({ WRITE_MS: 150 }) } });
    const visitor = await tcpPair(cleanup); // the device's end never gets a local target, so it stops reading
    const atServer = server.splice(visitor.inside);
    const broken = once(visitor.outside, 'close');
    flood(visitor.outside);
    expect((await atServer).outcome).toBe('write_timeout');
    await broken;
    await until('the WebSocket is gone', () => !server.open);
  });

  it('is not cut when it is only slow', async () => {
    const scaled = limits({ WRITE_MS: 1_200, LINGER_MS: 1_200 });
    const { server, visitor, local } = await spliced({ server: { limits: scaled }, client: { limits: scaled } });
    visitor.pause();
    visitor.end(); // the linger limit must not take it for silence either
    flood(local);
    await until('the server is held up', () => server.unflushed > 0);
    let read = 0;
    const by = performance.now() + 6_000;
    while (performance.now() < by) {
      read += (visitor.read() as Buffer | null)?.length ?? 0;
      // 500 kB/s: the kernel takes nothing for seconds, until a third of its send buffer of megabytes is free again.
      await new Promise((resolve) => setTimeout(resolve, 125));
    }
    expect(server.open).toBe(true);
    expect(read).toBeGreaterThan(0);
  });
});

describe('the second direction', () => {
  it('is cut when it stays silent for the linger limit after the first has ended', async () => {
    const { visitor, local, atServer, atClient } = await spliced({ server: { limits: limits({ LINGER_MS: 150 }) } });
    visitor.end('question');
    await readAll(local);
    const atVisitor = ending(visitor);
    expect((await atServer).outcome).toBe('linger_expired');
    expect((await atClient).outcome).toBe('linger_expired');
    expect(await atVisitor).toBe('ECONNRESET');
  });

  it('lives as long as bytes move', async () => {
    const { visitor, local, atServer } = await spliced({ server: { limits: limits({ LINGER_MS: 300 }) } });
    visitor.end();
    visitor.resume();
    for (let i = 0; i < 30; i++) {
      local.write('.');
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
    local.end();
    expect(await atServer).toEqual({ outcome: 'ok', toDevice: 0, toVisitor: 30 });
  });
});

describe('a transfer with a device of any behaviour', () => {
  it('answers pings in the middle of data and of messages', async () => {
    const { device, upgraded } = await RawDevice.connect(cleanup);
    const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head });
    const visitor = await tcpPair(cleanup);
    const atServer = server.splice(visitor.inside);
    visitor.outside.end();
    const fragment = (first: number, text: string): Buffer =>
      Buffer.concat([Buffer.from([first, 0x80 | text.length, 0, 0, 0, 0]), Buffer.from(text)]);
    device.binary('a').ping('1').raw(fragment(0x02, 'b')).ping('2').raw(fragment(0x00, '')).raw(fragment(0x80, 'c'));
    device.ping('3').end();
    expect((await readAll(visitor.outside)).toString()).toBe('abc');
    expect((await atServer).outcome).toBe('ok');
    await device.saw('close 1000');
    expect(device.events.filter((event) => event !== 'end')).toEqual(['pong 1', 'pong 2', 'pong 3', 'close 1000 bye']);
  });

  it('closes with 4430 when the visitor breaks', async () => {
    const { device, upgraded } = await RawDevice.connect(cleanup);
    const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head });
    const visitor = await tcpPair(cleanup);
    const atServer = server.splice(visitor.inside);
    device.binary('x');
    await once(visitor.outside, 'data');
    visitor.outside.resetAndDestroy();
    expect((await atServer).outcome).toBe('visitor_reset');
    await device.saw('close 4430 peer_reset');
  });

  it('names the outcome of every way a device can close', async () => {
    const ways: [(device: RawDevice) => void, string][] = [
      [(device) => device.close(4420), 'local_refused'],
      [(device) => device.close(4421), 'local_timeout'],
      [(device) => device.close(4423), 'busy'],
      [(device) => device.close(1000), 'peer_reset'],
      [(device) => device.close(4999), 'peer_reset'],
      [(device) => device.socket.end(), 'peer_reset'],
      [(device) => device.socket.resetAndDestroy(), 'peer_reset'],
      [(device) => device.binary('x').end().binary('y'), 'protocol_error'],
      [(device) => device.message({ type: 'idle', id: 'a' }), 'protocol_error'],
      [(device) => device.raw(Buffer.alloc(20, 0xff)), 'protocol_error'],
    ];
    for (const [act, outcome] of ways) {
      const { device, upgraded } = await RawDevice.connect(cleanup);
      const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head });
      const visitor = await tcpPair(cleanup);
      const atServer = server.splice(visitor.inside);
      const atVisitor = ending(visitor.outside);
      act(device);
      expect((await atServer).outcome).toBe(outcome);
      expect(await atVisitor).toMatch(/ECONNRESET|end/);
    }
  });

  it('always ends its visitor, whatever bytes come', async () => {
    const part = fc.oneof(
      fc.constantFrom('8280000000', '828000000000', '8281000000006161', '8180000000', '898000000000', '888000000000'),
      fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('hex')),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(part, { maxLength: 8 }), async (parts) => {
        const { device, upgraded } = await RawDevice.connect(cleanup);
        const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head, limits: limits({ CLOSE_MS: 50 }) });
        const visitor = await tcpPair(cleanup);
        const atServer = server.splice(visitor.inside);
        visitor.outside.end();
        visitor.outside.resume();
        device.socket.end(Buffer.from(parts.join(''), 'hex'));
        expect((await atServer).outcome).not.toBe('internal');
        await until('the server has let go', () => !server.open);
        await cleanup.run();
      }),
      { numRuns: 60 },
    );
  });
});

describe('the sweep of deadlines', () => {
  it('has nothing to do once all is closed', async () => {
    const { server, client, visitor, local, atServer, atClient } = await spliced();
    expect(sweep.size).toBeGreaterThan(0);
    visitor.end();
    local.end();
    visitor.resume();
    local.resume();
    await Promise.all([atServer, atClient]);
    await until('the WebSocket is closed at both ends', () => !server.open && !client.open && sweep.size === 0);
  });
});
