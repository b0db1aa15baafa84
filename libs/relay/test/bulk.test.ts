import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import type net from 'node:net';
import { type BinaryPlace, encodeEnd, encodeFrame, encodeText, FrameParser, OPCODE } from '@culvert/wire';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { BulkThread, bulkThread } from '../src/bulk.ts';
import { type BulkEnd, BulkJob, type BulkOrder, type BulkReport } from '../src/bulk-job.ts';
import { bulkBytes, FrameWriter, Pace } from '../src/index.ts';
import { descriptorOf, type Libc, loadLibc } from '../src/libc.ts';
import { Cleanup, ending, flood, limits, once, pause, readAll, tcpPair, transferPair, until } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const linux = process.platform === 'linux';
const ZERO = { client: { mask: 'zero', maxFrame: 1 << 20 } } as const;
const RANDOM = { client: { maxFrame: 1 << 20 } } as const;
const MASKS = [
  { masks: 'without masks', options: ZERO },
  { masks: 'with masks', options: RANDOM },
] as const;
const MOST = 1 << 18;

beforeAll(() => until('the bulk thread runs', () => !linux || bulkThread() !== undefined, 20_000));

async function spliced(options: Parameters<typeof transferPair>[1] = ZERO) {
  const { server, client } = await transferPair(cleanup, options);
  const visitor = await tcpPair(cleanup);
  const local = await tcpPair(cleanup);
  const atServer = server.splice(visitor.inside);
  const atClient = client.splice(local.inside);
  return { server, client, visitor: visitor.outside, local: local.outside, atServer, atClient };
}

const libc = linux ? (loadLibc() as Libc) : (undefined as unknown as Libc);

/** A job between two pairs of sockets, made by hand. */
async function jobOf(order: Partial<BulkOrder>, calls: Partial<Libc> = {}) {
  const source = await tcpPair(cleanup);
  const sink = await tcpPair(cleanup);
  const fds = { from: descriptorOf(source.inside), to: descriptorOf(sink.inside) };
  const job = new BulkJob({ ...fds, most: MOST, role: 'server', ...order }, { ...libc, ...calls }, 0);
  return { job, source, sink };
}

/** Has it move until it is over, by a clock of its own: a wait takes 1 ms, however busy the machine is, a step that moves something `stepMs`. */
async function run(job: BulkJob, whenStill = (): void => {}, stepMs = 0): Promise<BulkReport> {
  for (let now = 0; ; ) {
    const went = job.step(now);
    if (typeof went === 'string') return job.finish(went);
    now += went ? stepMs : 1;
    if (!went) {
      whenStill();
      await pause(1);
    }
  }
}

/** Of the frames of a client. */
const placeOf = (mask: Uint8Array, left = 0): BinaryPlace => ({ left, mask });
const NO_MASK = new Uint8Array(4);

describe.runIf(linux)('an order of the bulk thread', () => {
  it('makes frames of what goes up, and takes them off what comes down, with any mask', async () => {
    for (const mask of ['zero', 'random'] as const) {
      const sent = randomBytes(300_000);
      const up = await jobOf({ role: 'client', mask });
      up.source.outside.end(sent);
      const upReport = await run(up.job);
      expect(upReport).toMatchObject({
        end: 'ended',
        moved: sent.length,
        unread: mask === 'zero' ? sent.length : 0,
        rest: undefined,
      });
      up.sink.inside.end();
      const frames = await readAll(up.sink.outside);
      expect(frames.includes(sent.subarray(0, 100))).toBe(mask === 'zero');
      const down = await jobOf({ place: placeOf(mask === 'zero' ? NO_MASK : Uint8Array.of(1, 2, 3, 4)) });
      down.source.outside.end(frames);
      expect(await run(down.job)).toMatchObject({ end: 'ended', moved: sent.length, rest: undefined });
      down.sink.inside.end();
      expect(sha(await readAll(down.sink.outside))).toBe(sha(sent));
    }
  });

  it('leaves everything but binary messages to the parser, which goes on where it stopped: any frames, cut anywhere', async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 3000 }).map((array) => Buffer.from(array));
    const key = fc.constantFrom(NO_MASK, Uint8Array.of(9, 8, 7, 6), Uint8Array.of(0, 0, 1, 0));
    const frame = fc.tuple(fc.constantFrom('data', 'data', 'data', 'text', 'ping', 'parts', 'end'), bytes, key);
    const encoded = ([kind, payload, mask]: [string, Buffer, Uint8Array]): Buffer => {
      if (kind === 'text') return encodeText('a text', mask);
      if (kind === 'ping') return encodeFrame(OPCODE.ping, payload.subarray(0, 100), mask);
      if (kind === 'end') return encodeEnd(mask);
      if (kind === 'data') return encodeFrame(OPCODE.binary, payload, mask);
      const first = encodeFrame(OPCODE.binary, payload, mask);
      first[0] = OPCODE.binary; // without FIN
      return Buffer.concat([first, encodeFrame(OPCODE.continuation, payload, mask)]);
    };
    await fc.assert(
      fc.asyncProperty(
        fc.array(frame, { maxLength: 12 }),
        fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1 }),
        async (frames, steps) => {
          const stream = Buffer.concat(frames.map(encoded));
          const heard = { data: [] as Buffer[], said: [] as string[] };
          const handler = {
            onData: (chunk: Buffer, from: number, to: number) => heard.data.push(Buffer.from(chunk.subarray(from, to))),
            onEnd: () => heard.said.push('end'),
            onText: (text: string) => heard.said.push(text),
            onPing: () => heard.said.push('ping'),
            onPong: () => {},
            onClose: () => {},
          };
          const parser = new FrameParser({ role: 'server' }, handler);
          const ends: BulkEnd[] = [];
          let [at, step] = [0, 0];
          const next = (): Buffer => {
            const from = at;
            at = Math.min(stream.length, at + (steps[step++ % steps.length] as number));
            return stream.subarray(from, at);
          };
          while (at < stream.length) {
            parser.push(Buffer.from(next()));
            const { place } = parser;
            if (place === undefined) continue;
            // What the job does not take is pushed: it is what the socket still has.
            const given = Buffer.from(next());
            const { report, sunk, left } = await bulk(place, given);
            ends.push(report.end);
            heard.data.push(sunk);
            parser.resume(report.place as BinaryPlace);
            parser.push(left);
          }
          const payloads = frames.flatMap(([kind, payload]) =>
            kind === 'data' ? [payload] : kind === 'parts' ? [payload, payload] : [],
          );
          expect(Buffer.concat(heard.data)).toEqual(Buffer.concat(payloads));
          expect(heard.said).toEqual(
            frames.flatMap(([kind]) => (kind === 'text' ? ['a text'] : kind === 'ping' || kind === 'end' ? [kind] : [])),
          );
          expect(ends.filter((end) => end !== 'frame' && end !== 'ended' && end !== 'small')).toEqual([]);
        },
      ),
      { numRuns: 60 },
    );
  });

  /** A job over a socket that has these bytes and ends behind them; what it left there, and what it gave the sink. */
  async function bulk(place: BinaryPlace, given: Buffer): Promise<{ report: BulkReport; sunk: Buffer; left: Buffer }> {
    const { job, source, sink } = await jobOf({ place });
    source.outside.end(given);
    await pause(1);
    const report = await run(job);
    sink.inside.end();
    const [left, sunk] = await Promise.all([readAll(source.inside), readAll(sink.outside)]);
    return { report, sunk, left };
  }

  it('gives back what a full sink has not taken, header and all, when it is recalled', async () => {
    for (const mask of ['zero', 'random'] as const) {
      const { job, source, sink } = await jobOf({ role: 'client', mask });
      const sent = randomBytes(30_000_000);
      source.outside.end(sent);
      let stills = 0;
      const report = await run(job, () => {
        job.recalled = ++stills > 20;
      });
      expect(report.end).toBe('recalled');
      expect(report.rest?.length).toBeGreaterThan(0);
      sink.inside.write(report.rest as Uint8Array);
      sink.inside.end();
      const payload: Buffer[] = [];
      const onData = (chunk: Buffer, from: number, to: number) => payload.push(Buffer.from(chunk.subarray(from, to)));
      const nothing = (): void => {};
      const handler = { onData, onEnd: nothing, onText: nothing, onPing: nothing, onPong: nothing, onClose: nothing };
      new FrameParser({ role: 'server' }, handler).push(await readAll(sink.outside));
      const got = Buffer.concat(payload);
      expect(got.length).toBe(report.moved);
      expect(sha(got)).toBe(sha(sent.subarray(0, report.moved)));
    }
  });

  it('comes back when it has had its time, when nothing moves, and when it is no bulk', async () => {
    const busy = await jobOf({});
    flood(busy.source.outside);
    busy.sink.outside.resume();
    const slice = await run(busy.job, () => {}, 1);
    expect(slice.end).toBe('slice');
    expect(slice.moved).toBeGreaterThan(MOST);

    const silent = await jobOf({});
    expect(await run(silent.job)).toMatchObject({ end: 'still', moved: 0, rest: undefined });

    const stuck = await jobOf({});
    flood(stuck.source.outside);
    const report = await run(stuck.job);
    expect(report.end).toBe('still');
    expect(report.rest?.length).toBeGreaterThan(0);

    const small = await jobOf({});
    small.sink.outside.resume();
    expect((await run(small.job, () => small.source.outside.write('few'))).end).toBe('small');
  });

  it('says which socket broke', async () => {
    const source = await jobOf({});
    source.source.outside.resetAndDestroy();
    await pause(5);
    expect(await run(source.job)).toMatchObject({ end: 'fault', errno: 104, rest: undefined });
    const sink = await jobOf({});
    sink.source.outside.write(Buffer.alloc(100_000));
    sink.sink.outside.resetAndDestroy();
    await pause(5);
    const report = await run(sink.job);
    expect(report.end).toBe('fault');
    expect(report.rest?.length).toBeGreaterThan(0);
  });

  it('loses nothing where the system does not have splice(2), or refuses one half of it', async () => {
    for (const errno of [1, 22, 38, 95]) {
      const { job } = await jobOf({}, { splice: () => -1, errno: () => errno });
      expect(await run(job)).toMatchObject({ end: 'unable', moved: 0, rest: undefined });
    }
    const { job, source, sink } = await jobOf(
      { place: placeOf(NO_MASK, 9) },
      { splice: (from, ...rest) => (from === descriptorOf(source.inside) ? libc.splice(from, ...rest) : -1), errno: () => 22 },
    );
    source.outside.write('some data');
    await pause(5);
    const report = await run(job);
    expect(report.end).toBe('unable');
    expect(String(report.rest)).toBe('some data');
    sink.inside.destroy();
    expect(() => new BulkJob({ from: 0, to: 0, most: MOST, role: 'server' }, { ...libc, pipe2: () => -1 }, 0)).toThrow('no pipe');
  });
});

describe.runIf(linux)('the bulk thread', () => {
  async function started(file?: URL): Promise<BulkThread> {
    const thread = cleanup.add(new BulkThread(libc, file), (open) => open.close());
    if (file === undefined) await until('it runs', () => thread.running, 20_000);
    return thread;
  }
  const script = (text: string): URL => new URL(`data:text/javascript,${encodeURIComponent(text)}`);

  it('is given up with a warning, and with what it has, when it fails or says nothing any more', async () => {
    const warned = vi.spyOn(process, 'emitWarning').mockImplementation(() => {});
    const ready = "import { parentPort } from 'node:worker_threads'; parentPort.postMessage({ ready: true });";
    for (const [what, text] of [
      ['it failed', `${ready} parentPort.once('message', () => { throw new Error('a fault of its own'); });`],
      ['it has said nothing', `${ready} parentPort.on('message', () => {});`],
    ] as const) {
      const thread = await started(script(text));
      await until('it runs', () => thread.running, 20_000);
      const [source, sink] = [await tcpPair(cleanup), await tcpPair(cleanup)];
      const back = vi.fn();
      expect(thread.lend(source.inside, sink.inside, { most: MOST, role: 'server' }, back)).toBeDefined();
      if (what !== 'it failed') {
        // One look after a minute says only that the process stood still.
        for (let i = 0; i < 9; i++) thread.check(performance.now() + 60_000 * i);
        expect(thread.running).toBe(true);
        for (let i = 9; i < 12; i++) thread.check(performance.now() + 60_000 * i);
      }
      await until('what it had comes back', () => back.mock.calls.length > 0, 20_000);
      expect(back).toHaveBeenCalledExactlyOnceWith(undefined);
      expect(thread.running).toBe(false);
      expect(thread.lend(source.inside, sink.inside, { most: MOST, role: 'server' }, back)).toBeUndefined();
      expect(String(warned.mock.lastCall)).toContain(what);
    }
    const missing = await started(new URL('./is-not-there.ts', import.meta.url));
    await until('that is told', () => String(warned.mock.lastCall).includes('is-not-there'), 20_000);
    expect(missing.running).toBe(false);
    warned.mockRestore();
  });

  it('takes no more than 64 at once, nothing that is closed, and leaves no descriptor open', async () => {
    const thread = await started();
    const open = (): number => readdirSync('/proc/self/fd').length;
    const before = open();
    const pairs = await Promise.all(Array.from({ length: 70 }, () => tcpPair(cleanup)));
    const back = vi.fn();
    const order = { most: MOST, role: 'server' } as const;
    const loans = pairs.map(({ inside }, i) => thread.lend(inside, pairs[(i + 1) % 70]?.inside as net.Socket, order, back));
    expect(loans.filter((loan) => loan !== undefined)).toHaveLength(64);
    await until('all are back', () => back.mock.calls.length === 64);
    for (const { inside, outside } of pairs) {
      inside.destroy();
      outside.destroy();
    }
    const gone = (pairs[0] as { inside: net.Socket }).inside;
    await until('they are closed', () => descriptorOf(gone) < 0);
    expect(thread.lend(gone, gone, order, back)).toBeUndefined();
    await until(`as many descriptors are open as before: ${before}`, () => open() <= before);
  });

  it('has nothing of ours follow it within a frame when it is lost', async () => {
    let lose = (): void => {};
    const lend = vi.spyOn(BulkThread.prototype, 'lend').mockImplementation((_from, _to, _order, back) => {
      lose = () => back(undefined);
      return { recall: () => {} };
    });
    cleanup.add(lend, (spy) => spy.mockRestore());
    const [source, sink] = [await tcpPair(cleanup), await tcpPair(cleanup)];
    const writer = new FrameWriter(sink.inside, { role: 'server' });
    expect(
      writer.lend(
        source.inside,
        { most: MOST },
        () => {},
        () => {},
      ),
    ).toBeDefined();
    writer.pong(Buffer.from('waits'));
    writer.text('{}');
    await pause(5);
    lose();
    expect((await readAll(sink.outside)).length).toBe(0);
  });

  it('leaves bulk alone for a while when there is no pipe to be had', async () => {
    const lacking = `import { parentPort } from 'node:worker_threads'; parentPort.postMessage({ ready: true });
      const report = { end: 'lacking', errno: 0, moved: 0, unread: 0, rests: 0 };
      parentPort.on('message', ({ id }) => parentPort.postMessage({ id, report }));`;
    const thread = await started(script(lacking));
    await until('it runs', () => thread.running, 20_000);
    const [source, sink] = [await tcpPair(cleanup), await tcpPair(cleanup)];
    const back = vi.fn();
    const lend = () => thread.lend(source.inside, sink.inside, { most: MOST, role: 'server' }, back);
    expect(lend()).toBeDefined();
    await until('that is told', () => back.mock.calls.length > 0);
    expect(lend()).toBeUndefined();
    expect(thread.running).toBe(true);
    await until('it is tried again', () => lend() !== undefined);
  });

  it('does not keep a process alive', async () => {
    const file = new URL('../src/bulk.ts', import.meta.url);
    const code = `import { bulkThread } from '${file}'; bulkThread(); const at = setInterval(() => { if (bulkThread()) clearInterval(at); }, 5);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: 'inherit' });
    cleanup.add(child, (it) => it.kill('SIGKILL'));
    const status = await new Promise((resolve) => child.once('exit', resolve));
    expect(status).toBe(0);
  });
});

describe.runIf(linux).each(MASKS)('bulk over a transfer $masks', ({ options }) => {
  it('is moved by the bulk thread, both ways at once, whatever the largest frame, and not a byte is lost', async () => {
    for (const maxFrame of [40_000, 65_536, 262_144, 1 << 20]) {
      const { visitor, local, atServer, atClient } = await spliced({
        server: { maxFrame },
        client: { ...options.client, maxFrame },
      });
      const sent = [randomBytes(30_000_000), randomBytes(30_000_001)] as const;
      const before = bulkBytes();
      visitor.end(sent[0]);
      local.end(sent[1]);
      const [atLocal, atVisitor] = await Promise.all([readAll(local), readAll(visitor)]);
      expect(sha(atLocal)).toBe(sha(sent[0]));
      expect(sha(atVisitor)).toBe(sha(sent[1]));
      const totals = { outcome: 'ok', toDevice: 30_000_000, toVisitor: 30_000_001 };
      expect(await atServer).toEqual(totals);
      expect(await atClient).toEqual(totals);
      const { moved, unread } = bulkBytes();
      expect(moved - before.moved).toBeGreaterThan(30_000_000);
      if (options === ZERO) expect(unread - before.unread).toBe(moved - before.moved);
      else expect(unread - before.unread).toBeLessThan(moved - before.moved);
    }
  });

  it('takes turns with small answers and pings within the same stream', async () => {
    const { server, client, visitor, local, atServer } = await spliced(options);
    const parts = Array.from({ length: 30 }, (_, i) => randomBytes(i % 3 === 0 ? 3_000_000 : i * 7 + 1));
    const [up, down] = [readAll(local), readAll(visitor)];
    for (const part of parts) {
      const full = [visitor, local].filter((socket) => !socket.write(part));
      await Promise.all(full.map((socket) => once(socket, 'drain')));
      server.ping();
      client.ping();
      await pause(2);
    }
    visitor.end();
    local.end();
    expect(sha(await up)).toBe(sha(Buffer.concat(parts)));
    expect(sha(await down)).toBe(sha(Buffer.concat(parts)));
    expect((await atServer).outcome).toBe('ok');
  });

  it('is cut in the middle with the reason told, behind a whole frame', async () => {
    for (let i = 0; i < 12; i++) {
      const { server, client, visitor, local, atServer, atClient } = await spliced(options);
      const [writer, reader] = i % 2 === 0 ? [visitor, local] : [local, visitor];
      let received = 0;
      reader.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      flood(writer);
      const before = bulkBytes().moved;
      await until('bulk is moved', () => received > 3_000_000 && bulkBytes().moved > before);
      (i % 4 < 2 ? server : client).cut('superseded');
      expect((await atServer).outcome).toBe('superseded');
      expect((await atClient).outcome).toBe('superseded');
    }
  });

  it('ends as our own fault when the bulk thread is lost with it', async () => {
    const lend = vi.spyOn(BulkThread.prototype, 'lend').mockImplementation((_from, _to, _order, back) => {
      setTimeout(back, 5, undefined);
      return { recall: () => {} };
    });
    cleanup.add(lend, (spy) => spy.mockRestore());
    for (const way of ['up', 'down'] as const) {
      const { visitor, local, atServer, atClient } = await spliced(options);
      flood(way === 'up' ? visitor : local);
      (way === 'up' ? local : visitor).resume();
      const [first, second] = way === 'up' ? [atServer, atClient] : [atClient, atServer];
      expect((await first).outcome).toBe('internal');
      expect(['internal', 'peer_reset', 'visitor_reset']).toContain((await second).outcome);
    }
    expect(lend).toHaveBeenCalled();
  });

  it('ends as a reset, never in order, when either end resets in the middle', async () => {
    for (let i = 0; i < 20; i++) {
      const { visitor, local, atServer, atClient } = await spliced(options);
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
    const { server, client, visitor, local, atServer } = await spliced(options);
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
      await pause(300);
      const most = 2 * (limits().TRANSFER_BUFFER_BYTES + 64);
      expect(server.unflushed).toBeLessThanOrEqual(most);
      expect(client.unflushed).toBeLessThanOrEqual(most);
      visitor.resume();
      await pause(5);
    }
    visitor.end();
    await once(visitor, 'end');
    expect(hash.digest('hex')).toBe(sha(sent));
    expect((await atServer).outcome).toBe('ok');
  });

  it('keeps to a pace that comes and goes in the middle, both ways', async () => {
    const { server, client } = await transferPair(cleanup, options);
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
      await pause(5);
      pace.bytesPerSecond = 50_000 * (i + 1);
      await pause(20);
      pace.bytesPerSecond = Number.POSITIVE_INFINITY;
    }
    const [atLocal, atVisitor] = await got;
    expect(sha(atLocal)).toBe(sha(sent[0]));
    expect(sha(atVisitor)).toBe(sha(sent[1]));
    expect((await atServer).outcome).toBe('ok');
  });

  it('gives each of many visitors its own bytes', async () => {
    const pairs = await Promise.all(Array.from({ length: 12 }, () => spliced(options)));
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
