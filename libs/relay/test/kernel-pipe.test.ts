import { createHash, randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { bytesInKernel, Pace } from '../src/index.ts';
import { KernelPipe, kernelPipe, type System } from '../src/kernel-pipe.ts';
import { Reader } from '../src/reader.ts';
import { Owner } from '../src/turns.ts';
import { Cleanup, ending, flood, limits, once, readAll, tcpPair, transferPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const linux = process.platform === 'linux';
const MASK = { client: { mask: 'zero' } } as const;

async function spliced(options: Parameters<typeof transferPair>[1] = MASK) {
  const { server, client } = await transferPair(cleanup, options);
  const visitor = await tcpPair(cleanup);
  const local = await tcpPair(cleanup);
  const atServer = server.splice(visitor.inside);
  const atClient = client.splice(local.inside);
  return { server, client, visitor: visitor.outside, local: local.outside, atServer, atClient };
}

/** libc that says no to a call. */
function libc(changes: Partial<System>): System {
  return {
    pipe2: () => 0,
    fcntl: () => 0,
    splice: () => -1,
    read: () => -1,
    send: () => -1,
    close: () => 0,
    errno: () => 22,
    ...changes,
  };
}

describe.runIf(linux)('a pipe of the kernel', () => {
  it('moves what one socket has to another one, behind what was read', async () => {
    const pipe = cleanup.add(KernelPipe.open() as KernelPipe, (open) => open.close());
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    const bytes = Buffer.alloc(200_000);
    bytes.write('read: ');
    source.outside.write('and moved');
    let count = 0;
    await until('the bytes are there', () => {
      count = pipe.fill(source.inside, 100);
      return count > 0;
    });
    expect(count).toBe(9);
    pipe.forward(sink.inside, bytes, 0, 6, () => {});
    expect(String((await once(sink.outside, 'data'))[0])).toBe('read: and moved');
    expect(pipe.fill(source.inside, 100)).toBe(0); // nothing is there, and nothing is left
    pipe.forward(sink.inside, bytes, 0, 0, () => {});
    sink.inside.end();
    expect((await readAll(sink.outside)).length).toBe(0);
  });

  it('has Node write what the sink does not take, and loses and mixes up nothing', async () => {
    const pipe = cleanup.add(KernelPipe.open() as KernelPipe, (open) => open.close());
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    const sent = randomBytes(24_000_000);
    source.outside.end(sent);
    let [moved, flushes, waits] = [0, 0, 0];
    while (moved < sent.length) {
      const bytes = Buffer.alloc(1 << 18);
      const count = pipe.fill(source.inside, 1 << 18);
      moved += count;
      pipe.forward(sink.inside, bytes, 0, 0, () => flushes++);
      if (sink.inside.writableLength > 0) waits++;
      if (count === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    sink.inside.end();
    expect(sha(await readAll(sink.outside))).toBe(sha(sent));
    expect(waits).toBeGreaterThan(0);
    expect(flushes).toBeGreaterThan(0);
  });

  it('sends nothing past what Node has still to write', async () => {
    const pipe = cleanup.add(KernelPipe.open() as KernelPipe, (open) => open.close());
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    const first = randomBytes(16_000_000);
    sink.inside.write(first);
    expect(sink.inside.writableLength).toBeGreaterThan(0);
    source.outside.write('second');
    await until('the bytes are there', () => pipe.fill(source.inside, 100) > 0);
    const got = readAll(sink.outside);
    await once(sink.outside, 'readable'); // the kernel has room again, Node has not written all
    pipe.forward(sink.inside, Buffer.alloc(100), 0, 0, () => {});
    sink.inside.end();
    expect(sha(await got)).toBe(sha(Buffer.concat([first, Buffer.from('second')])));
  });

  it('is told of no more room than a slab has, whatever it is about to grow to', async () => {
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    const rooms: number[] = [];
    let moved = 0;
    const reader = new Reader({
      owner: new Owner(),
      maxRead: 1 << 18,
      turnBytes: 1, // to yield after each read, while it grows
      use: (_, from, to) => {
        moved += to - from;
        return to;
      },
      kernel: {
        peek: () => 16,
        pass: (pipe, bytes, from, to, most) => {
          rooms.push(bytes.length - to - most);
          const more = pipe.fill(source.inside, Math.min(most, bytes.length - to));
          pipe.forward(sink.inside, bytes, from, to, reader.flushed);
          moved += to - from + more;
          return { at: to, more };
        },
      },
    });
    const socket = reader.attach(source.inside);
    reader.sink = sink.inside;
    sink.outside.resume();
    source.outside.write(Buffer.alloc(8_000_000));
    reader.start();
    await until('all has moved', () => moved === 8_000_000);
    expect(rooms.length).toBeGreaterThan(5);
    expect(Math.min(...rooms)).toBeGreaterThanOrEqual(0);
    reader.drop();
    socket.destroy();
  });

  it('ends a socket whose fault it has met: its reader would see an orderly end', async () => {
    const pipe = cleanup.add(KernelPipe.open() as KernelPipe, (open) => open.close());
    const { inside, outside } = await tcpPair(cleanup);
    const failed = once(inside, 'error');
    outside.resetAndDestroy();
    await until('the reset is there', () => pipe.fill(inside, 100) === 0 && inside.destroyed);
    expect(String((await failed)[0])).toContain('splice(2)');
  });

  it('is given up where the system does not have splice(2), before a byte was taken', async () => {
    for (const errno of [1, 22, 38, 95]) {
      const pipe = KernelPipe.open(libc({ errno: () => errno })) as KernelPipe;
      const { inside } = await tcpPair(cleanup);
      expect(pipe.fill(inside, 100)).toBe(0);
      expect(pipe.able).toBe(false);
      expect(inside.destroyed).toBe(false);
    }
    expect(KernelPipe.open(libc({ pipe2: () => -1 }))).toBeUndefined();
  });

  it('ends the sink, and is not used again, where it does not give back what it took', async () => {
    const pipe = KernelPipe.open(libc({ splice: (from) => (from === -1 ? -1 : 7) })) as KernelPipe;
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    expect(pipe.fill(source.inside, 100)).toBe(7);
    pipe.forward(sink.inside, Buffer.alloc(100), 0, 0, () => {});
    expect(sink.inside.destroyed).toBe(true);
    expect(pipe.able).toBe(false);
    expect(pipe.fill(source.inside, 100)).toBe(0);
  });

  it('ends the sink where there is no room for what it did not take', async () => {
    const pipe = KernelPipe.open() as KernelPipe;
    const source = await tcpPair(cleanup);
    const sink = await tcpPair(cleanup);
    sink.inside.write(Buffer.alloc(16_000_000));
    source.outside.write(Buffer.alloc(100));
    await until('the bytes are there', () => pipe.fill(source.inside, 100) === 100);
    pipe.forward(sink.inside, Buffer.alloc(60), 0, 0, () => {});
    expect(sink.inside.destroyed).toBe(true);
    expect(pipe.able).toBe(false);
  });
});

describe.runIf(linux)('bulk over a transfer without masks', () => {
  it('goes on within the kernel, both ways at once, whatever the largest frame, and not a byte is lost', async () => {
    for (const maxFrame of [40_000, 65_536, 262_144, 1 << 20]) {
      const { visitor, local, atServer, atClient } = await spliced({
        server: { maxFrame },
        client: { maxFrame, mask: 'zero' },
      });
      const sent = [randomBytes(30_000_000), randomBytes(30_000_001)] as const;
      const before = bytesInKernel();
      visitor.end(sent[0]);
      local.end(sent[1]);
      const [atLocal, atVisitor] = await Promise.all([readAll(local), readAll(visitor)]);
      expect(sha(atLocal)).toBe(sha(sent[0]));
      expect(sha(atVisitor)).toBe(sha(sent[1]));
      const totals = { outcome: 'ok', toDevice: 30_000_000, toVisitor: 30_000_001 };
      expect(await atServer).toEqual(totals);
      expect(await atClient).toEqual(totals);
      expect(bytesInKernel() - before).toBeGreaterThan(maxFrame > 65_536 ? 60_000_000 : 30_000_000);
    }
  });

  it('is read where a mask hides it', async () => {
    const { visitor, local, atServer } = await spliced({});
    const sent = randomBytes(20_000_000);
    const before = bytesInKernel();
    visitor.end();
    local.end(sent);
    expect(sha(await readAll(visitor))).toBe(sha(sent));
    expect((await atServer).outcome).toBe('ok');
    expect(bytesInKernel()).toBe(before);
  });

  it('takes turns with small answers and pings within the same stream', async () => {
    const { server, client, visitor, local, atServer } = await spliced();
    const parts = Array.from({ length: 30 }, (_, i) => randomBytes(i % 3 === 0 ? 3_000_000 : i * 7 + 1));
    const got = readAll(local);
    for (const part of parts) {
      if (!visitor.write(part)) await once(visitor, 'drain');
      server.ping();
      client.ping();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    visitor.end();
    local.end();
    expect(sha(await got)).toBe(sha(Buffer.concat(parts)));
    expect((await atServer).outcome).toBe('ok');
  });

  it('ends as a reset, never in order, when either end resets in the middle', async () => {
    for (let i = 0; i < 20; i++) {
      const { visitor, local, atServer, atClient } = await spliced();
      const [writer, reader] = i % 2 === 0 ? [visitor, local] : [local, visitor];
      const breaks = i % 4 < 2 ? writer : reader;
      let received = 0;
      reader.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      flood(writer);
      await until('bulk flows', () => received > 3_000_000 + i * 500_000);
      const other = breaks === writer ? reader : writer;
      const ended = ending(other);
      breaks.resetAndDestroy();
      expect(['ECONNRESET', 'EPIPE']).toContain(await ended);
      const outcome = breaks === visitor ? 'visitor_reset' : 'peer_reset';
      expect((await atServer).outcome).toBe(outcome);
      expect((await atClient).outcome).toBe(outcome);
    }
  });

  it('waits for a peer that stops reading, within one read each way, and goes on when it reads again', async () => {
    const { server, client, visitor, local, atServer } = await spliced();
    const sent = randomBytes(60_000_000);
    let received = 0;
    const hash = createHash('sha256');
    const take = (chunk: Buffer): void => {
      received += chunk.length;
      hash.update(chunk);
    };
    visitor.on('data', take);
    local.end(sent);
    await until('bulk flows', () => received > 5_000_000);
    for (let i = 0; i < 3; i++) {
      visitor.pause();
      await new Promise((resolve) => setTimeout(resolve, 300));
      const most = 2 * (limits().TRANSFER_BUFFER_BYTES + 64);
      expect(server.unflushed).toBeLessThanOrEqual(most);
      expect(client.unflushed).toBeLessThanOrEqual(most);
      visitor.resume();
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    visitor.end();
    await once(visitor, 'end');
    expect(hash.digest('hex')).toBe(sha(sent));
    expect((await atServer).outcome).toBe('ok');
  });

  it('keeps to a pace that comes and goes in the middle, both ways', async () => {
    const { server, client } = await transferPair(cleanup, { client: { mask: 'zero', maxFrame: 1 << 20 } });
    const visitor = await tcpPair(cleanup);
    const local = await tcpPair(cleanup);
    const pace = new Pace();
    const atServer = server.splice(visitor.inside, { pace });
    void client.splice(local.inside);
    const sent = [randomBytes(40_000_000), randomBytes(40_000_000)] as const;
    visitor.outside.end(sent[0]);
    local.outside.end(sent[1]);
    const got = Promise.all([readAll(local.outside), readAll(visitor.outside)]);
    for (let i = 0; i < 8; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
      pace.bytesPerSecond = 50_000 * (i + 1);
      await new Promise((resolve) => setTimeout(resolve, 20));
      pace.bytesPerSecond = Number.POSITIVE_INFINITY;
    }
    const [atLocal, atVisitor] = await got;
    expect(sha(atLocal)).toBe(sha(sent[0]));
    expect(sha(atVisitor)).toBe(sha(sent[1]));
    expect((await atServer).outcome).toBe('ok');
  });

  it('gives each of many visitors its own bytes: one pipe serves all', async () => {
    expect(kernelPipe()?.able).toBe(true);
    const pairs = await Promise.all(Array.from({ length: 12 }, () => spliced()));
    await Promise.all(
      pairs.map(async ({ visitor, local, atServer }, i) => {
        const sent = randomBytes(4_000_000 + i * 100_003);
        visitor.end(sent);
        local.end(sent);
        const [atLocal, atVisitor] = await Promise.all([readAll(local), readAll(visitor)]);
        expect(sha(atLocal)).toBe(sha(sent));
        expect(sha(atVisitor)).toBe(sha(sent));
        expect((await atServer).outcome).toBe('ok');
      }),
    );
  });
});
