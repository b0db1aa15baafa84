import { encodeFrame, OPCODE } from '@culvert/wire';
import { dataFrame, type Peer } from '../peer.ts';
import type { Item } from '../suite.ts';
import { digestAfterEnd, digestOf, echo } from '../targets.ts';
import { check, never, until } from '../wait.ts';
import { PORT, readyAgent, sample } from './kit.ts';

const HELLO = Buffer.from('220 welcome\r\n');
const READY = Buffer.from('220 ready\r\n');

export const TRANSFERS: Item[] = [
  {
    name: 'fragmented-handshake',
    what: 'the answer of the handshake is read byte by byte',
    async run(bench) {
      const target = await bench.target(echo);
      bench.start({ mappings: [`tcp:${PORT}=${target.address}`] });
      const control = await bench.server.nextControl();
      control.bytewise = true;
      await control.accept();
      control.bytewise = false;
      for (const message of bench.server.greeting(control)) await control.write(message);
      const transfer = await bench.server.dial(control, PORT);
      if (typeof transfer === 'string') return check(false, `the dial was refused as ${transfer}`);
      transfer.bytewise = true;
      await transfer.accept();
      transfer.bytewise = false;
      await transfer.send('x');
      await transfer.gets('an echo', 'x');
    },
  },
  {
    name: 'fragmented-control',
    what: 'control messages and pings are read byte by byte',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      control.bytewise = true;
      await control.ping('p'.repeat(125));
      await control.say({ type: 'weather', pad: 'x'.repeat(200) });
      const transfer = await bench.server.open(control, PORT);
      await transfer.send('x');
      await transfer.gets('an echo', 'x');
      check(control.pongs[0] === 'p'.repeat(125), 'the ping was not answered with its payload');
    },
  },
  {
    name: 'fragmented-transfer',
    what: 'frames of all lengths are read byte by byte; fragments are data, an empty fragment is not END',
    async run(bench) {
      const { control } = await readyAgent(bench, digestAfterEnd);
      const transfer = await bench.server.open(control, PORT);
      transfer.bytewise = true;
      const parts = [sample(3), sample(125, 2), sample(126, 3), sample(300, 4)];
      for (const part of parts) await transfer.send(part);
      const [a, b] = [sample(20, 5), sample(200, 6)];
      await transfer.write(fragment(OPCODE.binary, a, false));
      await transfer.ping('between');
      await transfer.write(fragment(OPCODE.continuation, Buffer.alloc(0), false));
      await transfer.write(fragment(OPCODE.continuation, b, false));
      await transfer.write(fragment(OPCODE.continuation, Buffer.alloc(0), true));
      transfer.bytewise = false;
      const long = sample(70_000, 7);
      for (let at = 0; at < long.length; at += 65_000) await transfer.send(long.subarray(at, at + 65_000));
      await until('the pong', () => transfer.pongs.includes('between') || transfer.over);
      transfer.bytewise = true;
      await transfer.end();
      await transfer.gets('the digest of all that was sent', digestOf(Buffer.concat([...parts, a, b, long])));
      await transfer.finish();
    },
  },
  {
    name: 'ping',
    what: 'pings are answered with their payload',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      for (const payload of ['', 'a', '\x00\xff\x80', 'x'.repeat(125)]) {
        const before = control.pongs.length;
        await control.ping(payload);
        await until('a pong', () => control.pongs.length > before || control.over);
        control.inOrder();
        check(control.pongs.at(-1) === payload, `a ping of ${payload.length} bytes was answered with another payload`);
      }
    },
  },
  {
    name: 'ping-in-data',
    what: 'pings are answered while bytes flow, on both kinds of connection',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const transfer = await bench.server.open(control, PORT);
      let left = 400;
      const block = sample(32_768);
      const pump = (): void => {
        while (left > 0) {
          left -= 1;
          if (!transfer.socket.write(dataFrame(block))) {
            transfer.socket.once('drain', pump);
            return;
          }
        }
      };
      pump();
      for (let count = 0; count < 5; count++) {
        await transfer.ping(`transfer ${count}`);
        await control.ping(`control ${count}`);
        await until('a pong on the control connection', () => control.pongs.includes(`control ${count}`));
        await until('a pong on the transfer connection', () => transfer.pongs.includes(`transfer ${count}`) || transfer.over);
      }
      await until('all bytes, echoed', () => transfer.received >= 400 * block.length || transfer.over);
      await transfer.end();
      await transfer.finish();
    },
  },
  {
    name: 'target-first',
    what: 'a target that speaks first is heard before the visitor says anything',
    async run(bench) {
      const { control } = await readyAgent(bench, (socket) => {
        socket.write(READY);
        socket.pipe(socket);
      });
      const transfer = await bench.server.open(control, PORT);
      await transfer.gets('the greeting', READY);
      await transfer.send('next');
      await transfer.gets('greeting and echo', Buffer.concat([READY, Buffer.from('next')]));
    },
  },
  {
    name: 'early-bytes',
    what: 'what arrives before the target is connected is kept',
    async run(bench) {
      const { control } = await readyAgent(bench, digestAfterEnd);
      const bytes = sample(200_000, 9);
      const frames = [0, 1, 2, 3, 4].map((part) => dataFrame(bytes.subarray(part * 40_000, (part + 1) * 40_000)));
      const transfer = await bench.server.open(control, PORT, ...frames, Buffer.from('8200', 'hex'));
      await transfer.gets('the digest', digestOf(bytes));
      await transfer.finish();
    },
  },
  {
    name: 'half-close-visitor',
    what: 'END of the visitor reaches the target as FIN, and the answer still comes',
    async run(bench) {
      const { control } = await readyAgent(bench, digestAfterEnd);
      const transfer = await bench.server.open(control, PORT);
      const bytes = sample(51_000, 3);
      await transfer.send(bytes);
      await never('END came before the target had ended', 200, () => transfer.ends > 0);
      await transfer.end();
      await transfer.gets('the digest of what was sent', digestOf(bytes));
      await transfer.finish();
    },
  },
  {
    name: 'half-close-target',
    what: 'FIN of the target becomes one END, and the visitor may go on',
    async run(bench) {
      const got: Buffer[] = [];
      const { control, target } = await readyAgent(bench, (socket) => {
        socket.on('data', (chunk: Buffer) => got.push(chunk));
        socket.end(HELLO);
      });
      const transfer = await bench.server.open(control, PORT);
      await transfer.gets('the greeting', HELLO);
      await until('END', () => transfer.ends === 1 || transfer.over);
      const bytes = sample(100_000, 4);
      for (let at = 0; at < bytes.length; at += 50_000) await transfer.send(bytes.subarray(at, at + 50_000));
      await until('what the visitor sent after END', () => Buffer.concat(got).length >= bytes.length || transfer.over);
      transfer.inOrder();
      check(Buffer.concat(got).equals(bytes), 'the target got other bytes');
      await never('it closed before the server did', 200, () => transfer.over);
      await transfer.end();
      await transfer.finish();
      await until('the target sees FIN', () => target.endings.length === 1);
      check(target.endings[0] === 'end', `the target saw ${target.endings[0]}; expected an orderly end`);
    },
  },
  {
    name: 'target-resets',
    what: 'a target that resets ends the transfer with 4430',
    async run(bench) {
      const { control } = await readyAgent(bench, (socket) => socket.once('data', () => socket.resetAndDestroy()));
      const transfer = await bench.server.open(control, PORT);
      await transfer.send('x');
      await transfer.isOver('the transfer ends');
      check(
        transfer.closed?.code === 4430,
        `it was closed with ${transfer.closed?.code ?? 'a broken connection'}; expected 4430`,
      );
      check(transfer.ends === 0, 'END was sent for a reset');
      control.inOrder();
    },
  },
  {
    name: 'visitor-resets',
    what: 'a transfer that is closed or breaks before both ENDs resets the target',
    async run(bench) {
      const { control, target } = await readyAgent(bench, (socket) => void socket.on('data', () => {}));
      const endings: ((transfer: Peer) => void)[] = [
        (transfer) => void transfer.close(4430, 'peer_reset'),
        (transfer) => void transfer.close(1000),
        (transfer) => transfer.socket.destroy(),
      ];
      for (const [index, end] of endings.entries()) {
        const transfer = await bench.server.open(control, PORT);
        await transfer.send('x');
        await until('the target is connected', () => target.sockets.length > index);
        end(transfer);
        await until('the target hears of it', () => target.endings.length > index);
        check(target.endings[index] === 'reset', `the target saw ${target.endings[index]}; expected a reset`);
      }
      control.inOrder();
    },
  },
  {
    name: 'transfers-64',
    what: '64 transfers at once, each with its own bytes',
    async run(bench) {
      const { control } = await readyAgent(bench, digestAfterEnd);
      const transfers = await Promise.all(Array.from({ length: 64 }, () => bench.server.open(control, PORT)));
      await Promise.all(
        transfers.map(async (transfer, index) => {
          const bytes = sample(20_000 + index * 700, index + 1);
          for (let at = 0; at < bytes.length; at += 8_192) {
            await transfer.send(bytes.subarray(at, at + 8_192));
            await new Promise(setImmediate); // so that all of them take turns
          }
          await transfer.end();
          await transfer.gets('the digest', digestOf(bytes));
          await transfer.finish();
        }),
      );
      control.inOrder();
    },
  },
  {
    name: 'max-frame',
    what: 'frames of max_frame bytes are taken, and none of more than 1,048,576 are sent',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const most = Number(control.request.query.get('max_frame') ?? 65_536);
      const transfer = await bench.server.open(control, PORT);
      const bytes = sample(most * 2, 5);
      await transfer.send(bytes.subarray(0, most));
      await transfer.send(bytes.subarray(most));
      await transfer.gets('two frames of max_frame bytes, echoed', bytes); // longer frames of the agent are a fault of its frames
    },
  },
];

function fragment(opcode: 0 | 2, payload: Buffer, last: boolean): Buffer {
  const frame = encodeFrame(opcode, payload);
  frame[0] = (frame[0] as number) & (last ? 0xff : 0x7f);
  return frame;
}
