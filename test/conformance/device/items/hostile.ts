import type { Peer } from '../peer.ts';
import type { Bench, Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, until } from '../wait.ts';
import { PORT, readyAgent } from './kit.ts';

interface Violation {
  what: string;
  bytes: Buffer;
  close: number;
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const text = (message: string): Buffer => {
  const payload = Buffer.from(message);
  const head = payload.length < 126 ? [0x81, payload.length] : [0x81, 126, payload.length >> 8, payload.length & 0xff];
  return Buffer.concat([Buffer.from(head), payload]);
};
const violation = (what: string, bytes: Buffer, close = 4400): Violation => ({ what, bytes, close });

/** What every frame can have wrong, on either kind of connection. */
const FRAMES: Violation[] = [
  violation('a masked frame', hex('8281 00000000 61')),
  violation('a reserved bit', hex('c200')),
  violation('a reserved opcode', hex('8300')),
  violation('a reserved control opcode', hex('8b00')),
  violation('a fragmented ping', hex('0900')),
  violation('a ping of 126 bytes', Buffer.concat([hex('897e007e'), Buffer.alloc(126)])),
  violation('a fragmented text message', hex('010161')),
  violation('text that is not UTF-8', hex('8102c328')),
  violation('a continuation of nothing', hex('800161')),
  violation('length 125 in two bytes', hex('827e007d')),
  violation('a length with its highest bit set', hex('827f8000000000000000')),
  violation('a close frame of one byte', hex('880103')),
  violation('close code 999', hex('880203e7')),
  violation('a text message of 1,025 bytes', text(JSON.stringify({ type: 'x', pad: 'a'.repeat(1004) })), 1009),
];
const ON_TRANSFERS: Violation[] = [
  violation('a dial on a transfer', text('{"type":"idle","id":"a"}')),
  violation('text that is no JSON on a transfer', text('hello')),
  violation('data after END', hex('8200 820161')),
  violation('a second END', hex('8200 8200')),
];
const ON_CONTROL: Violation[] = [
  violation('a message that is no JSON', text('{"type":')),
  violation('an array', text('[]')),
  violation('a nested object', text('{"type":"weather","sky":{"color":"blue"}}')),
  violation('a dial without a path', text('{"type":"dial","id":"a","port":7,"visitor":""}')),
  violation('a binary message', hex('820161')),
  violation('a text message of 1,025 bytes', text(JSON.stringify({ type: 'x', pad: 'a'.repeat(1004) })), 1009),
  violation('a masked frame', hex('8180 00000000')),
];

async function isCutOff(peer: Peer, { what, bytes, close }: Violation): Promise<void> {
  await peer.write(bytes);
  await until(`${what} ends the connection`, () => peer.closed ?? peer.gone);
  const { closed } = peer;
  check(closed !== undefined, `${what} broke the connection without a close frame`);
  check(closed?.code === close, `${what} was answered by ${closed?.code}; expected ${close}`);
}

async function aloneOnControl(bench: Bench, one: Violation): Promise<void> {
  bench.start({ mappings: [`tcp:${PORT}=127.0.0.1:1`] });
  await isCutOff(await bench.server.connected(), one);
}

export const HOSTILE: Item[] = [
  {
    name: 'hostile-transfer',
    what: 'a violation on a transfer ends that transfer, with 4400 or 1009',
    async run(bench) {
      // A target that never ends, so that both ENDs do not pass before the violation.
      const { control } = await readyAgent(bench, (socket) => void socket.resume());
      for (const one of [...FRAMES, ...ON_TRANSFERS]) await isCutOff(await bench.server.open(control, PORT), one);
      control.inOrder();
    },
  },
  {
    name: 'hostile-control',
    what: 'a violation on the control connection ends it, with 4400 or 1009',
    async run(bench) {
      for (let at = 0; at < ON_CONTROL.length; at += 2) {
        await Promise.all(ON_CONTROL.slice(at, at + 2).map((one) => aloneOnControl(bench, one)));
      }
    },
  },
  {
    name: 'close-answered',
    what: 'a close frame is answered by a close frame with its code, and what follows is ignored',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      const transfer = await bench.server.open(control, PORT);
      await transfer.send('x');
      await transfer.gets('an echo', 'x');
      await transfer.write(Buffer.concat([hex('8802 1150'), hex('c200 ffff')]));
      await until('an answer', () => transfer.closed ?? transfer.gone);
      check(transfer.closed?.code === 4432, `close 4432 was answered by ${transfer.closed?.code ?? 'no close frame'}`);
      control.inOrder();
    },
  },
];
