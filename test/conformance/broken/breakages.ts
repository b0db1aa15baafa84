import { createHash } from 'node:crypto';
import { changed, type Frame, isClose, isData, isEnd, isPong, recoded, replaced, typeOf } from './frames.ts';
import type { Breakage, Wire } from './middle.ts';

const drops = (
  says: string,
  which: (frame: Frame, wire: Wire) => boolean,
  side: 'toServer' | 'toAgent' = 'toServer',
): Breakage => ({
  says,
  [side]: (frame: Frame, wire: Wire) => (which(frame, wire) ? undefined : frame),
});
const rewrites = (says: string, change: (frame: Frame, wire: Wire) => Frame): Breakage => ({ says, toServer: change });
const recodes = (says: string, from: number, to: number): Breakage => rewrites(says, (frame) => recoded(frame, from, to));
const answers = (says: string, change: (head: string, wire: Wire) => string): Breakage => ({ says, answer: change });
/** `refused` with another code, on control connections or on warm transfers. */
const misnames = (says: string, from: string, to: string, control = true): Breakage =>
  rewrites(says, (frame, wire) => (wire.control === control && typeOf(frame) === 'refused' ? replaced(frame, from, to) : frame));

const says = (frame: Frame, text: string): boolean => frame.payload.toString('latin1') === text;
const accept = (key: string): string => createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
const KEY = 'AAAAAAAAAAAAAAAAAAAAAA==';
const keyOf = (wire: Wire): string => [...wire.seen].find((note) => note.startsWith('key '))?.slice(4) ?? '';
const others = (wire: Wire, control: boolean): Wire[] =>
  [...wire.middle.wires].filter((one) => one !== wire && one.control === control);
const inlineKind = (frame: Frame, wire: Wire): number => (wire.control && isData(frame) ? (frame.payload[2] ?? -1) : -1);
const leaked: Buffer[] = [];

/** By item of the suite: what an agent does that fails exactly this one. */
export const BREAKAGES: Readonly<Record<string, Breakage>> = {
  handshake: {
    says: 'offers extensions',
    request: (head, wire) =>
      wire.control ? head.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n') : head,
  },
  boot: {
    says: 'the key is not new',
    request: (head, wire) =>
      head.replace(/(Sec-WebSocket-Key: )([^\r]*)/i, (_, name: string, key: string) => {
        wire.seen.add(`key ${key}`);
        return name + KEY;
      }),
    answer: (head, wire) => head.replace(accept(KEY), accept(keyOf(wire))),
  },
  'handshake-answer': {
    says: 'is given up after',
    request: (head, wire) => {
      wire.seen.add(`key ${/Sec-WebSocket-Key: ([^\r]*)/i.exec(head)?.[1] ?? ''}`);
      return head;
    },
    answer: (head, wire) =>
      head.startsWith('HTTP/1.1 101')
        ? `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept(keyOf(wire))}\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n`
        : head,
  },
  masks: rewrites('not random', (frame) => changed(frame, frame.payload, Buffer.of(1, 2, 3, 4))),
  joined: {
    says: 'for a dial',
    chunk: (chunk, wire, behind) => {
      const dial = behind && wire.control ? chunk.indexOf('{"type":"dial"') : -1;
      return dial < 0 ? chunk : chunk.subarray(0, dial - 4); // its header has four bytes
    },
  },
  leaves: drops('bye', (frame) => typeOf(frame) === 'bye'),
  unknown: drops('for a dial', (frame) => typeOf(frame) === 'dial' && frame.payload.includes('"mood"'), 'toAgent'),
  'heartbeat-lost': {
    says: 'silent connection is given up',
    chunk: (chunk, wire, behind) => {
      if (behind && wire.control) {
        const timer = setInterval(() => wire.agent.write(Buffer.from('89046b656570', 'hex')), 1_000); // a ping "keep"
        wire.agent.once('close', () => clearInterval(timer));
      }
      return chunk;
    },
    toServer: (frame) => (isPong(frame) && says(frame, 'keep') ? undefined : frame),
  },
  'heartbeat-any-frame': {
    says: 'gave up a connection',
    chunk: (chunk, wire, behind) => {
      if (behind && chunk.includes('"heartbeat_ms":2000')) setTimeout(() => wire.destroy(), 5_200);
      return chunk;
    },
  },
  'fragmented-handshake': {
    says: '',
    chunk: (chunk, wire, behind) => {
      if (behind && chunk.length === 0) wire.destroy();
      return chunk;
    },
  },
  'fragmented-control': {
    says: '',
    toAgent: (frame) => frame,
    chunk: (chunk, wire, behind) => {
      if (wire.control && !behind && chunk.length === 1) wire.destroy();
      return chunk;
    },
  },
  'fragmented-transfer': {
    says: '',
    toAgent: (frame) =>
      frame.first === 0x80 && frame.payload.length === 0 ? changed({ ...frame, first: 0x82 }, frame.payload) : frame,
  },
  ping: rewrites('another payload', (frame) =>
    isPong(frame) && frame.payload.includes(0xff) ? changed(frame, Buffer.alloc(0)) : frame,
  ),
  'ping-in-data': drops(
    'on the transfer connection',
    (frame) => isPong(frame) && frame.payload.toString().startsWith('transfer '),
  ),
  'target-first': drops('the greeting', (frame) => isData(frame) && frame.payload.toString().startsWith('220 ready')),
  'early-bytes': {
    says: 'the digest',
    chunk: (chunk, wire, behind) => (behind && !wire.control && chunk.length > 10_000 ? Buffer.alloc(0) : chunk),
  },
  'half-close-visitor': {
    says: 'END came before',
    toAgent: (frame, wire) => {
      if (frame.payload.length === 51_000) wire.server.write(Buffer.from('828000000000', 'hex'));
      return frame;
    },
  },
  'half-close-target': {
    says: 'after END',
    toServer: (frame, wire) => {
      if (isEnd(frame)) wire.seen.add('end');
      return frame;
    },
    toAgent: (frame, wire) => (isData(frame) && !isEnd(frame) && wire.seen.has('end') && !wire.warm ? undefined : frame),
  },
  'target-resets': rewrites('expected 4430', (frame, wire) => (wire.seen.has('closing') ? frame : recoded(frame, 4430, 1000))),
  'visitor-resets': {
    says: 'hears of it',
    toAgent: (frame, wire) => {
      if (!isClose(frame) || wire.control || frame.payload.readUInt16BE(0) !== 4430) return frame;
      wire.server.write(Buffer.from('888200000000114e', 'hex'));
      return undefined;
    },
  },
  'transfers-64': rewrites('differ', (frame, wire) => {
    if (!isData(frame) || frame.payload.length < 60 || wire.middle.wires.size < 50) return frame;
    return changed(frame, Buffer.from(frame.payload.map((byte, at) => (at === 7 ? byte ^ 1 : byte))));
  }),
  'max-frame': drops('max_frame', (frame) => frame.payload.length > 200_000, 'toAgent'),
  'not-allowed': misnames('refused as local_refused', 'not_allowed', 'local_refused'),
  'local-refused': misnames('refused as busy', 'local_refused', 'busy'),
  'local-timeout': misnames('refused as local_refused', 'local_timeout', 'local_refused'),
  busy: misnames('refused as local_refused', 'busy', 'local_refused'),
  path: {
    says: 'it asked for',
    request: (head, wire) => (wire.control || wire.warm ? head : head.replace(' HTTP/1.1', '?x=1 HTTP/1.1')),
  },
  'slow-target': { says: 'takes nothing', unbounded: 'to agent' },
  'slow-visitor': { says: 'takes nothing', unbounded: 'to server' },
  'frozen-server': {
    says: 'memory grew',
    toAgent: (frame) => {
      if (frame.first === 0x89 && frame.payload.length === 125 && leaked.length < 2_000) leaked.push(Buffer.alloc(65_536, 1));
      return frame;
    },
  },
  'other-transfers': {
    says: '',
    broken: (wire) => {
      if (!wire.control) for (const other of others(wire, false)) other.destroy();
    },
  },
  'hostile-transfer': drops('a masked frame', (frame, wire) => !wire.control && frame.mask !== undefined, 'toAgent'),
  'hostile-control': drops('a masked frame', (frame, wire) => wire.control && frame.mask !== undefined, 'toAgent'),
  'close-answered': recodes('answered by 1000', 4432, 1000),
  'pace-slow': answers('came back', (head) => head.replace('"unauthorized"', '"unavailable" ')),
  'pace-409': answers('came back', (head) => head.replace('"name_in_use"', '"unavailable"')),
  'pace-retry-after': answers('came back', (head, wire) => (wire.control ? head.replace(/Retry-After: [46]\r\n/, '') : head)),
  'pace-retry-after-cap': answers('came back', (head) => head.replace('Retry-After: 300', 'Retry-After: 2')),
  jitter: { says: 'no jitter' },
  superseded: {
    says: 'a handshake of a control connection',
    toAgent: (frame) => recoded(typeOf(frame) === 'bye' ? replaced(frame, '"superseded"', '"revoked"') : frame, 4411, 4413),
  },
  'transfers-outlive': {
    says: '',
    broken: (wire) => {
      if (wire.control) for (const other of others(wire, false)) other.destroy();
    },
  },
  'wind-down': {
    says: 'dropped before',
    toAgent: (frame, wire) => {
      if (typeOf(frame) === 'wind_down' && frame.payload.includes('2000')) wire.seen.add('leaving');
      return frame;
    },
    request: (head, wire) => {
      if (wire.control) for (const other of others(wire, true)) if (other.seen.has('leaving')) other.destroy();
      return head;
    },
  },
  moved: {
    says: 'connected again',
    toAgent: (frame, wire) => {
      const newest = [...wire.middle.wires].findLast((one) => one.control);
      if (typeOf(frame) === 'bye' && frame.payload.includes('"moved"')) setTimeout(() => newest?.destroy(), 700);
      return frame;
    },
  },
  'warm-asks': { says: 'expected 3', request: (head) => head.replace('warm=3', 'warm=2') },
  'warm-refused': {
    says: 'asked again',
    request: (head, wire) => {
      if (wire.warm) wire.seen.add(`head ${head}`);
      return head;
    },
    answer: (head, wire) => {
      const asked = [...wire.seen].find((note) => note.startsWith('head '))?.slice(5);
      if (asked !== undefined && head.includes(' 429 ')) void wire.middle.dial().then((socket) => socket.write(asked, 'latin1'));
      return head;
    },
  },
  'warm-recycled': drops('idle after visitor-1', (frame) => typeOf(frame) === 'idle' && frame.payload.includes('"visitor-1"')),
  'warm-idle': {
    says: 'expected accepted',
    toServer: (frame, wire) => {
      if (typeOf(frame) === 'accepted' && frame.payload.includes('"a"')) {
        setTimeout(() => wire.server.write(frame.raw), 100);
        return undefined;
      }
      return frame;
    },
  },
  'warm-assign-refused': misnames('refused as busy', 'not_allowed', 'busy', false),
  'inline-serves': drops('answer to CLOSE', (frame, wire) => inlineKind(frame, wire) === 3 && ++wire.count > 3),
  'inline-credit': drops('credit', (frame, wire) => inlineKind(frame, wire) === 2),
  'inline-turns': drops(
    'beside bulk',
    (frame, wire) => inlineKind(frame, wire) === 0 && frame.payload.toString('latin1', 3) === 'echo',
  ),
  'inline-endings': rewrites('expected 4430', (frame, wire) =>
    inlineKind(frame, wire) === 3 && frame.payload.readUInt16BE(3) === 4430 ? replaced(frame, '\x11\x4e', '\x03\xe8') : frame,
  ),
  'inline-hostile': drops('an unknown kind', (frame, wire) => inlineKind(frame, wire) === 9, 'toAgent'),
  proxy: { says: 'past the proxy', ignoresProxy: true },
};
