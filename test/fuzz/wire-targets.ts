import { CulvertError } from '@culvert/contracts';
import {
  decodeInline,
  decodeMessage,
  encodeClose,
  encodeEnd,
  encodeFrame,
  encodeMessage,
  encodeText,
  FrameParser,
  MESSAGE_MAX,
  type Message,
  OPCODE,
  ZERO_MASK,
} from '@culvert/wire';
import { SocksParser } from '../../agent/sdk/src/access/socks.ts';
import { parseMapping } from '../../agent/sdk/src/mapping.ts';
import { bytesOf, demand, type FuzzTarget } from './target.ts';

const MESSAGES: readonly Message[] = [
  { type: 'dial', id: 'kq3rB0mZ8x1Y', port: 22, path: '/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Y', visitor: '192.0.2.7:4711' },
  { type: 'refused', id: 'kq3rB0mZ8x1Y', code: 'local_refused' },
  { type: 'endpoint', port: 80, url: 'https://quiet-otter.example.com' },
  { type: 'ready', epoch: 7, heartbeat_ms: 30_000, grace_ms: 3_600_000, resumed: false },
  { type: 'bye', code: 'moved', message: 'x' },
];

/** Everything that a receiver hears of these chunks, with neighbouring data joined, and how it ended. */
function heard(role: 'client' | 'server', chunks: readonly Buffer[]): string {
  const events: string[] = [];
  let data = '';
  const flush = (): void => {
    if (data !== '') events.push(`data ${data}`);
    data = '';
  };
  const tell = (what: string): void => {
    flush();
    events.push(what);
  };
  const parser = new FrameParser(
    { role, maxFrame: 1 << 20 },
    {
      onData: (chunk, from, to) => {
        demand(to > from, 'data is never empty');
        data += chunk.toString('hex', from, to);
      },
      onEnd: () => tell('end'),
      onText: (text) => {
        demand(Buffer.byteLength(text) <= MESSAGE_MAX, 'a text is within its limit');
        tell(`text ${text}`);
      },
      onPing: (payload) => tell(`ping ${payload.toString('hex')}`),
      onPong: (payload) => tell(`pong ${payload.toString('hex')}`),
      onClose: (code, reason) => tell(`close ${code} ${reason}`),
    },
  );
  try {
    for (const chunk of chunks) {
      const copy = Buffer.from(chunk); // it is unmasked in place
      const taken = parser.push(copy, 0, copy.length);
      demand(taken === copy.length || parser.closed, 'everything is taken');
    }
  } catch (error) {
    if (!(error instanceof CulvertError)) throw error;
    tell(`fault ${error.code}`);
  }
  flush();
  return events.join('\n');
}

const split = (input: Buffer, size: number): Buffer[] =>
  Array.from({ length: Math.ceil(input.length / size) }, (_, at) => input.subarray(at * size, (at + 1) * size));

function frames(role: 'client' | 'server'): FuzzTarget {
  const mask = role === 'server' ? Buffer.from([1, 2, 3, 4]) : undefined;
  const zero = role === 'server' ? ZERO_MASK : undefined;
  return {
    name: `frames-of-${role === 'server' ? 'devices' : 'servers'}`,
    seeds: [
      Buffer.concat([encodeFrame(OPCODE.binary, bytesOf('hello'), mask), encodeEnd(zero), encodeClose(1000, '', mask)]),
      Buffer.concat([encodeFrame(OPCODE.ping, bytesOf('p'), zero), encodeText('{"type":"idle","id":"a"}', mask)]),
      encodeFrame(OPCODE.binary, Buffer.alloc(300, 7), zero),
      encodeClose(4413, 'revoked', zero),
    ],
    words: [
      '\x82\x00',
      '\x82\x7e',
      '\x82\x7f',
      '\x82\xff',
      '\x81\x81',
      '\x00\x00',
      '\x80\x00',
      '\x88\x02\x03\xe8',
      '\x88\x01',
      '\x89\x7e',
      '\xc2\x00',
      '\xff\xff\xff\xff\xff\xff\xff\xff',
    ],
    run: (input) => {
      const whole = heard(role, [input]);
      demand(heard(role, split(input, 1)) === whole, 'frames are read alike byte by byte');
      demand(heard(role, split(input, 7)) === whole, 'frames are read alike in sevens');
    },
  };
}

export const WIRE: readonly FuzzTarget[] = [
  frames('server'),
  frames('client'),
  {
    name: 'messages',
    seeds: MESSAGES.map((message) => Buffer.from(encodeMessage(message))),
    words: [
      '{',
      '}',
      '[',
      ']',
      '"',
      ':',
      ',',
      'null',
      'true',
      '-0',
      '1e400',
      '\\u0000',
      '\\ud800',
      '"type":',
      '"__proto__":{}',
      '"id":',
      '"port":65536',
      'é',
    ],
    run: (input) => {
      const decoded = decodeMessage(input.toString('utf8'));
      if (decoded.type === 'fault') return demand('fault' in decoded && decoded.fault.length > 0, 'a fault is named');
      if (decoded.type === 'unknown') return;
      demand(JSON.stringify(decodeMessage(encodeMessage(decoded))) === JSON.stringify(decoded), 'what was read can be written');
    },
  },
  {
    name: 'inline',
    seeds: ['0000006869', '000001', '00010200010000', '00000303e8'].map((hex) => Buffer.from(hex, 'hex')),
    words: ['\0\0\0', '\0\0\x02', '\xff\xff', '\0\0\x03\x03\xe8'],
    run: (input) => {
      try {
        decodeInline(Buffer.from(input));
      } catch (error) {
        demand(error instanceof CulvertError, 'a bad message is a violation that has a code');
      }
    },
  },
  {
    name: 'socks',
    seeds: [
      bytesOf('\x05\x01\x00\x05\x01\x00\x03\x0dalice.culvert\x00\x16SSH'),
      bytesOf('\x05\x02\x00\x02\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50'),
    ],
    words: ['\x05', '\x00', '\xff', '\x05\x01\x00', '\x03\xff', '.culvert'],
    run: (input) => {
      const talk = (chunks: readonly Buffer[]): string => {
        const parser = new SocksParser();
        const said: string[] = [];
        for (const chunk of chunks) {
          for (let step = parser.push(chunk); step.kind !== 'more'; step = parser.push(Buffer.alloc(0))) {
            said.push(step.kind === 'connect' ? `${step.host} ${step.port}` : step.bytes.toString('hex'));
            if (step.kind !== 'answer') return said.join(' ');
          }
        }
        return said.join(' ');
      };
      demand(talk([input]) === talk(split(input, 1)), 'a client is understood alike however its bytes come');
    },
  },
  {
    name: 'mapping',
    seeds: ['80', 'http:8080=127.0.0.1:3000', 'tcp:22=[::1]:22'].map(bytesOf),
    words: [':', '=', '[', ']', 'tcp:', '65536', '%eth0', '0'],
    run: (input) => {
      const parsed = parseMapping(input.toString('latin1'));
      if (!parsed.ok) return demand(parsed.fault.length < 512, 'a fault is of moderate length');
      const { port, target } = parsed.mapping;
      demand(port > 0 && port <= 65_535 && target.port > 0 && target.port <= 65_535, 'ports are ports');
    },
  },
];
