import { createHash, randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BulkThread, bulkThread } from '../src/bulk.ts';
import { BulkJob } from '../src/bulk-job.ts';
import { type Libc, loadLibc, tcpDescriptorOf } from '../src/libc.ts';
import { PeerQueue } from '../src/peer-queue.ts';
import { noteSmall, Owner } from '../src/turns.ts';
import { Cleanup, readAll, tcpPair, transferPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const linux = process.platform === 'linux';
const libc = linux ? (loadLibc() as Libc) : (undefined as unknown as Libc);
const MOST = 1 << 18;
const QUEUE = 512 << 10;
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** A kernel that says so much of every socket. */
function saying(said: { window: number; unsent?: number; bytes?: number; fails?: boolean }): Libc {
  return {
    ...libc,
    getsockopt: (_fd, _level, _name, into, length) => {
      const info = Buffer.from(into.buffer, into.byteOffset, into.byteLength);
      info.writeUInt32LE(said.unsent ?? 0, 144);
      info.writeUInt32LE(said.window, 228);
      Buffer.from(length.buffer, length.byteOffset, 4).writeUInt32LE(said.bytes ?? 232);
      return said.fails === true ? -1 : 0;
    },
  };
}

/** A device sends so many bytes up, and all of them arrive. */
async function carried(bytes: number, device: { byEdge: boolean; mask?: 'zero' }): Promise<void> {
  const sent = randomBytes(bytes);
  const { server, client } = await transferPair(cleanup, { client: { maxFrame: 1 << 20, ...device } });
  const [visitor, local] = [await tcpPair(cleanup), await tcpPair(cleanup)];
  const spliced = [server.splice(visitor.inside), client.splice(local.inside)];
  local.outside.end(sent);
  visitor.outside.end();
  expect(sha(await readAll(visitor.outside))).toBe(sha(sent));
  local.outside.resume();
  expect((await Promise.all(spliced)).map(({ outcome }) => outcome)).toEqual(['ok', 'ok']);
}

describe.runIf(linux)('what a peer has not read', () => {
  it('is told by what the kernel offers and cannot send', async () => {
    const { outside, inside } = await tcpPair(cleanup);
    const queue = new PeerQueue(libc);
    const exceeds = (): boolean => queue.exceeds(tcpDescriptorOf(outside), MOST);
    const send = (bytes: number): Promise<void> => new Promise((resolve) => outside.write(Buffer.alloc(bytes), () => resolve()));
    expect(exceeds()).toBe(false);
    const sent = send(8 << 20);
    await until('much is unsent, for nobody reads', exceeds);
    inside.resume();
    await sent;
    await until('all is read', () => !exceeds());
    for (let i = 0; i < 50; i++) {
      await send(1 << 20); // its window grows
      exceeds();
    }
    await until('all is read again', () => inside.bytesRead === 58 << 20 && !exceeds());
    inside.pause();
    await send(MOST * 3);
    await until('the window is narrower than it was', exceeds);
    inside.resume();
    await until('all is read at last', () => inside.bytesRead === (58 << 20) + MOST * 3);
    await send(1); // says how wide the window is now
    await until('it is wide', () => !exceeds());
  });

  it('is nothing where the system does not say, and a window that stays narrow is one', () => {
    for (const said of [{ fails: true }, { bytes: 220 }]) {
      const queue = new PeerQueue(saying({ window: 0, unsent: 1 << 20, ...said }));
      expect(queue.exceeds(7, 0)).toBe(false);
    }
    expect(new PeerQueue(saying({ window: 0, unsent: 1 << 20 })).exceeds(-1, 0)).toBe(false);
    const said = { window: 3 << 20 };
    const queue = new PeerQueue(saying(said));
    expect(queue.exceeds(7, QUEUE)).toBe(false);
    said.window = 1 << 20;
    const looks = Array.from({ length: 40 }, () => queue.exceeds(7, QUEUE));
    expect(looks.filter((behind) => behind)).toHaveLength(32);
    expect(looks.at(-1)).toBe(false);
  });

  it('has the bulk thread rest after each read, and only where an order says so', async () => {
    for (const queue of [QUEUE, undefined]) {
      const [source, sink] = [await tcpPair(cleanup), await tcpPair(cleanup)];
      const said = { window: 3 << 20 };
      const order = {
        from: tcpDescriptorOf(source.inside),
        to: tcpDescriptorOf(sink.inside),
        most: 1000,
        role: 'server',
        queue,
      } as const;
      const job = new BulkJob(order, saying(said), 0);
      source.outside.write(Buffer.alloc(10_000));
      await until('something moves', () => job.step(0) === true);
      said.window = 1 << 20;
      if (queue === undefined) {
        expect([job.step(0), job.step(0), job.restsUntil]).toEqual([true, true, 0]);
      } else {
        expect([job.step(0), job.restsUntil]).toEqual([false, 0.25]);
        expect([job.step(0.2), job.restsUntil]).toEqual([false, 0.25]);
        expect([job.step(0.25), job.restsUntil]).toEqual([true, 0]);
        expect([job.step(0.3), job.restsUntil]).toEqual([false, 0.55]);
        said.window = 3 << 20;
        expect([job.step(0.55), job.step(0.55)]).toEqual([true, true]);
      }
      expect(job.finish('slice').rest).toBeUndefined();
    }
  });

  it('counts for bulk by an edge, beside somebody who waits, and costs no byte', async () => {
    await until('the bulk thread runs', () => bulkThread() !== undefined, 20_000);
    const lend = vi.spyOn(BulkThread.prototype, 'lend').mockReturnValue(undefined);
    const exceeds = vi.spyOn(PeerQueue.prototype, 'exceeds').mockReturnValue(true);
    cleanup.add([lend, exceeds], (spies) => {
      for (const spy of spies) spy.mockRestore();
    });
    for (const [byEdge, waits] of [
      [true, false],
      [false, true],
      [true, true],
    ] as const) {
      lend.mockClear();
      exceeds.mockClear();
      const somebody = new Owner();
      const asks = setInterval(() => waits && noteSmall(somebody), 5);
      await carried(6 << 20, { byEdge });
      clearInterval(asks);
      const asked = new Set(lend.mock.calls.map(([, , { place, queue }]) => (place === undefined ? queue : undefined)));
      expect(asked.has(QUEUE)).toBe(byEdge && waits);
      expect(exceeds.mock.calls.length > 0).toBe(byEdge && waits);
    }
  });
});

describe.runIf(linux)('the bulk thread beside somebody who waits', () => {
  it('moves all that there is by an edge that is behind', async () => {
    await until('the bulk thread runs', () => bulkThread() !== undefined, 20_000);
    const somebody = new Owner();
    const asks = setInterval(() => noteSmall(somebody), 5);
    cleanup.add(asks, clearInterval);
    await carried(40 << 20, { mask: 'zero', byEdge: true });
  });
});
