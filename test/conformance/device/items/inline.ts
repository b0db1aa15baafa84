import type { Socket } from 'node:net';
import { type InlineChannel, InlinePeer } from '../inline-peer.ts';
import type { Bench, Item } from '../suite.ts';
import { digestAfterEnd, digestOf, echo, type LocalTarget } from '../targets.ts';
import { check, never, pause, until } from '../wait.ts';
import { PORT, sample } from './kit.ts';

const WINDOW = 65_536;
const COUNT = 3;

async function inlineAgent(bench: Bench, serve: (socket: Socket) => void): Promise<{ inline: InlinePeer; target: LocalTarget }> {
  const target = await bench.target(serve);
  bench.start({ mappings: [`tcp:${PORT}=${target.address}`], inline: COUNT, transfers: COUNT });
  const control = await bench.server.nextControl();
  const asked = control.request.query.get('inline');
  check(asked === String(COUNT), `it names inline=${asked}; expected ${COUNT}`);
  const inline = new InlinePeer(control, COUNT);
  await control.accept(...bench.server.greeting(control, { inline: COUNT }));
  return { inline, target };
}

const BEYOND = 'data beyond the credit';
/** What ends the control connection while channel 0 is open. */
const VIOLATIONS: [what: string, payload: Buffer, close: number][] = [
  [BEYOND, Buffer.from('00000061', 'hex'), 4400],
  ['a channel that is not open', Buffer.from('00010061', 'hex'), 4400],
  ['an unknown kind', Buffer.from('000009', 'hex'), 4400],
  ['END with a byte', Buffer.from('00000161', 'hex'), 4400],
  ['a message of two bytes', Buffer.from('0000', 'hex'), 4400],
  ['a message of more than 16,387 bytes', Buffer.alloc(16_388), 1009],
];
/** Nothing was granted for this long: the target takes no more, and the agent neither. */
const STANDS_MS = 1_000;

/** Sends to a target that reads nothing until the credit is spent for good. */
async function spendAll(inline: InlinePeer, one: InlineChannel): Promise<void> {
  const block = sample(16_384);
  let since = performance.now();
  for (let sent = 0; performance.now() - since < STANDS_MS; ) {
    const count = inline.send(one, block);
    sent += count;
    check(sent < 64 << 20, 'it granted more than 64 MiB for a target that takes nothing');
    if (count > 0) since = performance.now();
    else await pause(5);
  }
}

export const INLINE: Item[] = [
  {
    name: 'inline-serves',
    what: 'dials are answered on the control connection; channels are used again after CLOSE',
    claim: 'inline',
    async run(bench) {
      const { inline } = await inlineAgent(bench, digestAfterEnd);
      for (let count = 0; count < 3 * COUNT; count++) {
        const one = await inline.dial(bench.server, PORT);
        check(one.channel < COUNT, `it opened channel ${one.channel} of ${COUNT}`);
        inline.grant(one, WINDOW);
        const bytes = sample(1_000 + count, count + 1);
        await inline.sendAll(one, bytes);
        inline.end(one);
        await inline.gets('the digest', one, digestOf(bytes));
        await inline.finish(one);
      }
      check(bench.server.connections === 1, `it opened ${bench.server.connections} connections`);
    },
  },
  {
    name: 'inline-credit',
    what: 'it sends no more than it was granted, and grants what it has passed on',
    claim: 'inline',
    async run(bench) {
      const bytes = sample(600_000, 3);
      const { inline } = await inlineAgent(bench, (socket) => {
        socket.write(bytes);
        digestAfterEnd(socket);
      });
      const one = await inline.dial(bench.server, PORT);
      await never('it sent without credit', 300, () => one.received > 0 || inline.peer.over);
      inline.grant(one, 10);
      await until('the first 10 bytes', () => one.received === 10 || inline.peer.over);
      await never('it sent beyond its credit', 300, () => one.received > 10 || inline.peer.over);
      inline.grant(one, 1_000_000);
      await inline.gets('all that the target sent', one, bytes);
      const upload = sample(one.credit * 3 + 1_000, 4);
      await inline.sendAll(one, upload);
      inline.end(one);
      await inline.gets('the digest', one, Buffer.concat([bytes, Buffer.from(digestOf(upload))]));
      check(one.granted >= upload.length - one.credit, `it granted ${one.granted}; more was sent`);
      await inline.finish(one);
    },
  },
  {
    name: 'inline-turns',
    what: 'neither bulk nor a transfer that stands still holds up another, or a ping',
    claim: 'inline',
    async run(bench) {
      const block = sample(65_536);
      const { inline } = await inlineAgent(bench, (socket) => {
        socket.once('data', (first: Buffer) => {
          if (first.toString() === 'echo') {
            socket.write(first);
            socket.pipe(socket);
            return;
          }
          const pump = (): void => {
            while (!socket.destroyed && socket.write(block));
          };
          socket.on('drain', pump).resume();
          pump();
        });
      });
      const bulk = await inline.dial(bench.server, PORT);
      const still = await inline.dial(bench.server, PORT);
      for (const one of [bulk, still]) await inline.sendAll(one, Buffer.from('bulk'));
      inline.grant(still, 1_000);
      let given = 1_000_000;
      inline.grant(bulk, given);
      const feed = setInterval(() => {
        bulk.chunks.length = 0;
        const spent = given - bulk.received;
        if (spent > 500_000 || inline.peer.over) return;
        given += 500_000;
        inline.grant(bulk, 500_000);
      }, 5);
      try {
        await until('bulk', () => bulk.received > 2_000_000 || inline.peer.over);
        const small = await inline.dial(bench.server, PORT);
        inline.grant(small, 1_000_000);
        for (let count = 1; count <= 20; count++) {
          await inline.sendAll(small, Buffer.from('echo'));
          await inline.gets('an echo beside bulk', small, 'echo'.repeat(count));
        }
        await inline.peer.ping('beside');
        await until('a pong beside bulk', () => inline.peer.pongs.includes('beside') || inline.peer.over);
        const seen = bulk.received;
        await until('more bulk', () => bulk.received > seen || inline.peer.over);
        check(still.received === 1_000, 'the transfer without credit did not keep to it');
        inline.peer.inOrder();
      } finally {
        clearInterval(feed);
      }
    },
  },
  {
    name: 'inline-endings',
    what: 'breaks become CLOSE with their code, CLOSE becomes a reset, and the other channels go on',
    claim: 'inline',
    async run(bench) {
      const { inline, target } = await inlineAgent(bench, (socket) => {
        socket.once('data', (first: Buffer) => {
          if (first.toString() === 'reset') socket.resetAndDestroy();
          else echo(socket);
        });
      });
      const other = await inline.dial(bench.server, PORT);
      inline.grant(other, WINDOW);
      await inline.sendAll(other, Buffer.from('first'));
      const broken = await inline.dial(bench.server, PORT);
      await inline.sendAll(broken, Buffer.from('reset'));
      await until('CLOSE', () => broken.closed !== undefined || inline.peer.over);
      check(broken.closed === 4430, `it said CLOSE ${broken.closed}; expected 4430`);
      const cut = await inline.dial(bench.server, PORT);
      await inline.sendAll(cut, Buffer.from('stays'));
      await until('the target is connected', () => target.sockets.length === 3);
      const ended = target.endings.length;
      inline.close(cut, 4430);
      await until('the answer to CLOSE', () => cut.closed !== undefined || inline.peer.over);
      await until('the target hears of it', () => target.endings.length > ended);
      check(target.endings.at(-1) === 'reset', `the target saw ${target.endings.at(-1)}; expected a reset`);
      await inline.sendAll(other, Buffer.from('still here'));
      await inline.gets('an echo on another channel', other, 'still here');
    },
  },
  {
    name: 'inline-hostile',
    what: 'violations end the control connection, with 4400 or 1009',
    claim: 'inline',
    async run(bench) {
      for (const [what, payload, close] of VIOLATIONS) {
        const { inline } = await inlineAgent(bench, (socket) => void socket.pause());
        const one = await inline.dial(bench.server, PORT);
        if (what === BEYOND) await spendAll(inline, one);
        inline.raw(payload);
        await until(`${what} ends the control connection`, () => inline.peer.closed ?? inline.peer.gone);
        check(inline.peer.closed?.code === close, `${what} was answered by ${inline.peer.closed?.code}; expected ${close}`);
      }
    },
  },
];
