import type { Socket } from 'node:net';
import { dataFrame, type Peer } from '../peer.ts';
import type { Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, pause, until } from '../wait.ts';
import { PORT, readyAgent, sample } from './kit.ts';

const MIB = 1 << 20;
const BLOCK = sample(32_768);
/** More than all buffers of the kernel between two ends hold, twice over, with what an agent may hold itself. */
const OFFERED = 96 * MIB;
/** What kernel buffers at their largest and an agent may take of a stalled transfer. */
const TAKEN_MAX = 40 * MIB;
const MEMORY_MAX = 24 * MIB;
const WARM_UP = 8 * MIB;
/** An agent may set up a thread, say, while bulk goes on without it. */
const SET_UP_MS = 500;
/** Nothing was taken for this long: it stands. */
const STANDS_MS = 1_500;

/** Counts what was taken while the rest is refused; resolves once nothing more is taken. */
async function untilItStands(taken: () => number, most: number): Promise<void> {
  let last = -1;
  let since = performance.now();
  for (;;) {
    const now = taken();
    check(now <= most, `it took more than ${most / MIB} MiB of a transfer whose other side takes nothing`);
    if (now !== last) {
      last = now;
      since = performance.now();
    } else if (performance.now() - since > STANDS_MS) return;
    await pause(20);
  }
}

/** Bulk there and back, twice, before memory is looked at: what an agent sets up once for it is no growth. */
async function busy(transfer: Peer): Promise<void> {
  for (let round = 1; round <= 2; round++) {
    for (let sent = 0; sent < WARM_UP; sent += BLOCK.length) await transfer.send(BLOCK);
    await until('bulk there and back', () => transfer.received > round * WARM_UP || transfer.over);
    await pause(SET_UP_MS);
  }
  transfer.chunks.length = transfer.received = 0;
}

/** Another transfer of the same agent, and its pings, go on. */
async function othersGoOn(transfer: Peer, control: Peer): Promise<void> {
  await transfer.send('others go on');
  await until('an echo on another transfer while one stands still', () => transfer.received >= 12 || transfer.over);
  transfer.inOrder();
  const before = control.pongs.length;
  await control.ping('alive');
  await until('a pong while a transfer stands still', () => control.pongs.length > before);
}

function grown(before: number | undefined, now: number | undefined): number {
  return before === undefined || now === undefined ? 0 : now - before;
}

export const PRESSURE: Item[] = [
  {
    name: 'slow-target',
    what: 'a target that reads nothing stops its transfer only; memory stays bounded, and no byte is lost',
    async run(bench) {
      const got = { bytes: 0, sum: 0 };
      const sinks: Socket[] = [];
      const stalled = await bench.target((socket) => {
        socket.pause();
        sinks.push(socket);
      });
      const quick = await bench.target(echo);
      const agent = bench.start({ mappings: [`tcp:7=${stalled.address}`, `tcp:8=${quick.address}`] });
      const control = await bench.server.connected();
      const transfer = await bench.server.open(control, 7);
      const other = await bench.server.open(control, 8);
      await other.send('x');
      await other.gets('an echo', 'x');
      await busy(other);
      const before = agent.memory;
      let written = 0;
      const pump = (): void => {
        while (written < OFFERED) {
          written += BLOCK.length;
          if (!transfer.socket.write(dataFrame(BLOCK))) return;
        }
        void transfer.end();
      };
      transfer.socket.on('drain', pump);
      pump();
      await untilItStands(() => written - transfer.socket.writableLength, TAKEN_MAX);
      await othersGoOn(other, control);
      const memory = grown(before, agent.memory);
      check(memory <= MEMORY_MAX, `its memory grew by ${Math.round(memory / MIB)} MiB`);
      transfer.inOrder();
      const [sink] = sinks;
      sink?.on('data', (chunk: Buffer) => {
        got.bytes += chunk.length;
      });
      sink?.on('end', () => sink.end());
      sink?.resume();
      await until('all bytes, once the target reads', () => got.bytes >= OFFERED || transfer.over);
      check(got.bytes === OFFERED, `the target got ${got.bytes} of ${OFFERED} bytes`);
      await transfer.finish();
    },
  },
  {
    name: 'slow-visitor',
    what: 'a visitor that reads nothing stops its transfer only; memory stays bounded, and no byte is lost',
    async run(bench) {
      let source: Socket | undefined;
      let written = 0;
      const talker = await bench.target((socket) => {
        source = socket;
        socket.resume();
        const pump = (): void => {
          while (written < OFFERED) {
            written += BLOCK.length;
            if (!socket.write(BLOCK)) return;
          }
          socket.end();
        };
        socket.on('drain', pump);
        pump();
      });
      const quick = await bench.target(echo);
      const agent = bench.start({ mappings: [`tcp:7=${talker.address}`, `tcp:8=${quick.address}`] });
      const control = await bench.server.connected();
      const other = await bench.server.open(control, 8);
      await other.send('x');
      await other.gets('an echo', 'x');
      await busy(other);
      const before = agent.memory;
      const transfer = await bench.server.dial(control, 7);
      if (typeof transfer === 'string') return check(false, `the dial was refused as ${transfer}`);
      transfer.socket.pause();
      await transfer.accept();
      await until('the target is connected', () => source);
      await untilItStands(() => written - (source?.writableLength ?? 0), TAKEN_MAX);
      await othersGoOn(other, control);
      const memory = grown(before, agent.memory);
      check(memory <= MEMORY_MAX, `its memory grew by ${Math.round(memory / MIB)} MiB`);
      transfer.socket.resume();
      await until('all bytes, once the visitor reads', () => transfer.ends > 0 || transfer.over);
      check(transfer.received === OFFERED, `the visitor got ${transfer.received} of ${OFFERED} bytes`);
      await transfer.end();
      await transfer.finish();
    },
  },
  {
    name: 'frozen-server',
    what: 'a server that sends pings but reads nothing does not make the agent grow',
    async run(bench) {
      const { agent, control } = await readyAgent(bench, echo);
      const before = agent.memory;
      control.socket.pause();
      const pings = Buffer.concat(
        Array.from({ length: 500 }, () => Buffer.concat([Buffer.from('897d', 'hex'), BLOCK.subarray(0, 125)])),
      );
      const end = performance.now() + 3_000;
      for (let sent = 0; sent < 40 * MIB && !control.gone && performance.now() < end; ) {
        if (control.socket.writableLength > MIB) await pause(10);
        else {
          control.socket.write(pings);
          sent += pings.length;
        }
      }
      const memory = grown(before, agent.memory);
      check(memory <= MEMORY_MAX, `its memory grew by ${Math.round(memory / MIB)} MiB`);
    },
  },
  {
    name: 'other-transfers',
    what: 'the end of one transfer leaves the others alone',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const transfers = await Promise.all([1, 2, 3].map(() => bench.server.open(control, PORT)));
      const [first, second, third] = transfers as [Peer, Peer, Peer];
      first.reset();
      await second.write(Buffer.from('c200', 'hex')); // a violation
      await second.isOver('a violation ends the transfer');
      await third.send('third');
      await third.gets('an echo', 'third');
      control.inOrder();
    },
  },
];
