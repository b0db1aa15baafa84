/** Inputs of the golden vectors, by hand. Frames are written as bytes, not by our encoder. */
import type { Ending } from '../src/index.ts';

export interface FrameCase {
  name: string;
  receiver: 'client' | 'server';
  max_frame?: number;
  bytes: string;
}

export const FRAME_CASES: FrameCase[] = [
  { name: 'unmasked text Hello to a client (RFC 6455, 5.7)', receiver: 'client', bytes: '810548656c6c6f' },
  { name: 'masked text Hello to a server (RFC 6455, 5.7)', receiver: 'server', bytes: '818537fa213d7f9f4d5158' },
  { name: 'ping Hello to a client (RFC 6455, 5.7)', receiver: 'client', bytes: '890548656c6c6f' },
  { name: 'masked pong Hello to a server (RFC 6455, 5.7)', receiver: 'server', bytes: '8a8537fa213d7f9f4d5158' },
  { name: 'three bytes of data', receiver: 'client', bytes: '8203616263' },
  { name: 'masked data', receiver: 'server', bytes: '828301020304606060' },
  { name: 'data under the zero mask', receiver: 'server', bytes: '828300000000616263' },
  { name: 'two binary messages are one run of bytes', receiver: 'client', bytes: '82026162 820163' },
  { name: '126 bytes: length in two bytes', receiver: 'client', bytes: '827e007e 61*126' },
  { name: '65536 bytes: length in eight bytes', receiver: 'client', bytes: '827f0000000000010000 61*65536' },
  { name: 'END', receiver: 'client', bytes: '8200' },
  { name: 'masked END', receiver: 'server', bytes: '828001020304' },
  { name: 'data, then END', receiver: 'client', bytes: '820161 8200' },
  { name: 'a fragmented binary message is data', receiver: 'client', bytes: '020161 000162 800163' },
  { name: 'an empty last fragment is not END', receiver: 'client', bytes: '020161 8000' },
  { name: 'an empty first fragment is not END', receiver: 'client', bytes: '0200 800161' },
  { name: 'a message of empty fragments is neither data nor END', receiver: 'client', bytes: '0200 0000 8000 820161' },
  { name: 'ping between two fragments', receiver: 'client', bytes: '020161 8900 800162' },
  { name: 'close with a code and a reason', receiver: 'client', bytes: '880f03e8 73656520796f75206c61746572' },
  { name: 'close without a code reads as 1005', receiver: 'client', bytes: '8800' },
  { name: 'close 4430', receiver: 'client', bytes: '8802114e' },
  { name: 'what follows a close frame is ignored', receiver: 'client', bytes: '880203e8 ffffff' },
  { name: 'empty text message', receiver: 'client', bytes: '8100' },
  { name: 'text of 1024 bytes', receiver: 'client', bytes: '817e0400 61*1024' },
  { name: 'reserved bit', receiver: 'client', bytes: 'c200' },
  { name: 'reserved opcode', receiver: 'client', bytes: '8300' },
  { name: 'reserved control opcode', receiver: 'client', bytes: '8b00' },
  { name: 'unmasked frame to a server', receiver: 'server', bytes: '820161' },
  { name: 'masked frame to a client', receiver: 'client', bytes: '82810000000061' },
  { name: 'fragmented ping', receiver: 'client', bytes: '0900' },
  { name: 'ping of 126 bytes', receiver: 'client', bytes: '897e007e 61*126' },
  { name: 'fragmented text', receiver: 'client', bytes: '010161 800162' },
  { name: 'text of 1025 bytes', receiver: 'client', bytes: '817e0401 61*1025' },
  { name: 'text that is not UTF-8', receiver: 'client', bytes: '8102c328' },
  { name: 'text inside a fragmented binary message', receiver: 'client', bytes: '020161 810161' },
  { name: 'new binary message inside a fragmented one', receiver: 'client', bytes: '020161 820162' },
  { name: 'continuation of nothing', receiver: 'client', bytes: '800161' },
  { name: 'length 125 in two bytes', receiver: 'client', bytes: '827e007d' },
  { name: 'length 65535 in eight bytes', receiver: 'client', bytes: '827f000000000000ffff' },
  { name: 'length with its highest bit set', receiver: 'client', bytes: '827f8000000000000000' },
  { name: 'length over 2^53', receiver: 'client', bytes: '827f0020000000000000' },
  { name: 'frame at max_frame', receiver: 'client', max_frame: 125, bytes: '827d 61*125' },
  { name: 'frame over max_frame', receiver: 'client', max_frame: 125, bytes: '827e007e 61*126' },
  { name: 'close frame of one byte', receiver: 'client', bytes: '880103' },
  { name: 'close code 1005 in a frame', receiver: 'client', bytes: '880203ed' },
  { name: 'close code 999', receiver: 'client', bytes: '880203e7' },
  { name: 'close code 5000', receiver: 'client', bytes: '88021388' },
  { name: 'close reason that is not UTF-8', receiver: 'client', bytes: '880403e8c328' },
];

/** The key of RFC 6455, 1.3; its answer is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=. */
export const SAMPLE_KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

const CONTROL = '/v1/control?name=alice&ports=80,tcp:22';

function request(target: string, changes: Record<string, string | null> = {}, method = 'GET'): string {
  const headers: Record<string, string | null> = {
    Host: 'culvert.example',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': SAMPLE_KEY,
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': 'culvert.v1',
    Authorization: 'Bearer cvt_0123456789',
    ...changes,
  };
  const lines = Object.entries(headers).flatMap(([name, value]) => (value === null ? [] : [`${name}: ${value}`]));
  return `${[`${method} ${target} HTTP/1.1`, ...lines].join('\r\n')}\r\n\r\n`;
}

const ports = (count: number): string => Array.from({ length: count }, (_, i) => `tcp:${i + 1}`).join(',');

export const REQUEST_CASES: { name: string; request: string }[] = [
  { name: 'the least a device sends', request: request(CONTROL) },
  {
    name: 'everything a device may send',
    request: request(
      '/v1/control?name=cam-7&ports=80,443,http:8080,https:8443,tcp:22,5432&warm=4&max_frame=262144&transfers=8&boot=Zk3vQ1x9T0aB',
    ),
  },
  { name: 'percent-encoded ports', request: request('/v1/control?name=alice&ports=80%2Ctcp%3A22') },
  { name: 'unknown parameters are ignored', request: request(`${CONTROL}&color=green`) },
  {
    name: 'header values in other cases and lists',
    request: request(CONTROL, { Upgrade: 'WebSocket', Connection: 'keep-alive, upgrade' }),
  },
  { name: 'several subprotocols', request: request(CONTROL, { 'Sec-WebSocket-Protocol': 'other, culvert.v1' }) },
  { name: '32 ports', request: request(`/v1/control?name=alice&ports=${ports(32)}`) },
  { name: '33 ports', request: request(`/v1/control?name=alice&ports=${ports(33)}`) },
  { name: 'port 0', request: request('/v1/control?name=alice&ports=0') },
  { name: 'port 65536', request: request('/v1/control?name=alice&ports=tcp:65536') },
  { name: 'a port twice', request: request('/v1/control?name=alice&ports=80,tcp:80') },
  { name: 'unknown scheme', request: request('/v1/control?name=alice&ports=udp:53') },
  { name: 'no ports', request: request('/v1/control?name=alice') },
  { name: 'no name', request: request('/v1/control?ports=80') },
  { name: 'name in upper case', request: request('/v1/control?name=Alice&ports=80') },
  { name: 'name with a dot', request: request('/v1/control?name=a.b&ports=80') },
  { name: 'name of 63 characters', request: request(`/v1/control?name=${'a'.repeat(63)}&ports=80`) },
  { name: 'name of 64 characters', request: request(`/v1/control?name=${'a'.repeat(64)}&ports=80`) },
  { name: 'name with a hyphen at its end', request: request('/v1/control?name=alice-&ports=80') },
  { name: 'name in another script', request: request('/v1/control?name=%D0%B0lice&ports=80') },
  { name: 'broken percent-encoding', request: request('/v1/control?name=%E0%A4&ports=80') },
  { name: 'name given twice', request: request('/v1/control?name=alice&name=bob&ports=80') },
  { name: 'warm over 64', request: request(`${CONTROL}&warm=65`) },
  { name: 'inline transfers', request: request(`${CONTROL}&transfers=4&inline=4`) },
  { name: 'inline over 64', request: request(`${CONTROL}&inline=65`) },
  { name: 'max_frame under 125', request: request(`${CONTROL}&max_frame=124`) },
  { name: 'max_frame over 1 MiB', request: request(`${CONTROL}&max_frame=1048577`) },
  { name: 'transfers 0', request: request(`${CONTROL}&transfers=0`) },
  { name: 'boot too short', request: request(`${CONTROL}&boot=short`) },
  { name: 'unknown path', request: request('/v1/other') },
  { name: 'POST', request: request(CONTROL, {}, 'POST') },
  { name: 'no Upgrade', request: request(CONTROL, { Upgrade: null }) },
  { name: 'no Connection', request: request(CONTROL, { Connection: null }) },
  { name: 'WebSocket version 8', request: request(CONTROL, { 'Sec-WebSocket-Version': '8' }) },
  { name: 'key of 15 bytes', request: request(CONTROL, { 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' }) },
  { name: 'no subprotocol', request: request(CONTROL, { 'Sec-WebSocket-Protocol': null }) },
  { name: 'no token', request: request(CONTROL, { Authorization: null }) },
  { name: 'Basic in place of Bearer', request: request(CONTROL, { Authorization: 'Basic YTpi' }) },
  { name: 'transfer', request: request('/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Yt5Wd2cEfGA') },
  { name: 'warm transfer', request: request('/v1/transfer/tcp-listener-1?warm=1') },
  { name: 'transfer without an id', request: request('/v1/transfer/tcp-listener-1') },
  { name: 'transfer with an id and warm', request: request('/v1/transfer/tcp-listener-1/abc?warm=1') },
  { name: 'transfer with an id that is none', request: request('/v1/transfer/tcp-listener-1/a.b') },
  { name: 'transfer without a token', request: request('/v1/transfer/tcp-listener-1/abc', { Authorization: null }) },
];

const UPGRADED =
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
  'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: culvert.v1\r\n\r\n';

const REFUSED = (status: string, body: string, more = ''): string =>
  `HTTP/1.1 ${status}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n${more}Connection: close\r\n\r\n${body}`;

export const RESPONSE_CASES: { name: string; response: string }[] = [
  { name: 'upgraded', response: UPGRADED },
  { name: 'upgraded, with the first frame behind it', response: `${UPGRADED}\x89\x00` },
  {
    name: 'upgraded, other headers and cases',
    response: UPGRADED.replace('Upgrade: websocket', 'Server: x\r\nupgrade:  WebSocket'),
  },
  { name: 'wrong accept', response: UPGRADED.replace('s3pP', 's3pQ') },
  { name: 'no subprotocol', response: UPGRADED.replace('Sec-WebSocket-Protocol: culvert.v1\r\n', '') },
  { name: 'another subprotocol', response: UPGRADED.replace('culvert.v1', 'culvert.v2') },
  { name: 'no Upgrade', response: UPGRADED.replace('Upgrade: websocket\r\n', '') },
  { name: 'an extension nobody offered', response: UPGRADED.replace('Upgrade: w', 'Sec-WebSocket-Extensions: x\r\nUpgrade: w') },
  { name: 'name in use', response: REFUSED('409 Conflict', '{"code":"name_in_use","message":"alice is connected"}') },
  { name: 'wait', response: REFUSED('503 Service Unavailable', '{"code":"recovering","message":"wait"}', 'Retry-After: 3\r\n') },
  { name: "a proxy's page", response: 'HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>' },
  { name: 'a redirect is not followed', response: 'HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n' },
  { name: 'not HTTP', response: 'SSH-2.0-OpenSSH_9.2\r\n\r\n' },
  { name: 'incomplete', response: 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n' },
  { name: 'an endless head', response: `HTTP/1.1 101 Switching Protocols\r\nX: ${'a'.repeat(9000)}` },
];

const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

const json = (value: unknown): string => JSON.stringify(value);

export const MESSAGE_CASES: { name: string; text: string }[] = [
  { name: 'endpoint, http', text: json({ type: 'endpoint', port: 80, url: 'https://k3x9.culvert.example/' }) },
  { name: 'endpoint, tcp', text: json({ type: 'endpoint', port: 22, host: 'culvert.example', public_port: 20_017 }) },
  { name: 'endpoint without a public side', text: json({ type: 'endpoint', port: 22 }) },
  {
    name: 'ready',
    text: json({ type: 'ready', epoch: 1_753_900_000_123, heartbeat_ms: 30_000, grace_ms: 3_600_000, resumed: true }),
  },
  {
    name: 'ready with a direct address',
    text: json({
      type: 'ready',
      epoch: 7,
      heartbeat_ms: 30_000,
      grace_ms: 3_600_000,
      resumed: false,
      transfer_url: 'wss://l1.culvert.example',
      transfer_key: 'Zk3vQ1x9T0aBZk3vQ1x9T0aB',
    }),
  },
  {
    name: 'ready with inline transfers',
    text: json({ type: 'ready', epoch: 7, heartbeat_ms: 30_000, grace_ms: 3_600_000, resumed: false, inline: 4 }),
  },
  { name: 'ready without resumed', text: json({ type: 'ready', epoch: 7, heartbeat_ms: 30_000, grace_ms: 3_600_000 }) },
  {
    name: 'ready with a number as text',
    text: json({ type: 'ready', epoch: '7', heartbeat_ms: 30_000, grace_ms: 0, resumed: true }),
  },
  {
    name: 'dial',
    text: json({
      type: 'dial',
      id: 'kq3rB0mZ8x1Y',
      port: 22,
      path: '/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Y',
      visitor: '203.0.113.9:51234',
    }),
  },
  {
    name: 'dial of a canary',
    text: json({ type: 'dial', id: 'a', port: 1, path: '/v1/transfer/l/a', visitor: 'canary', canary: true }),
  },
  {
    name: 'dial of a traced visit',
    text: json({ type: 'dial', id: 'a', port: 22, path: '/v1/transfer/l/a', visitor: '203.0.113.9:51234', traceparent: TRACE }),
  },
  {
    name: 'dial with a trace context that is no text',
    text: json({ type: 'dial', id: 'a', port: 22, path: '/v1/transfer/l/a', visitor: '', traceparent: 1 }),
  },
  { name: 'traced', text: json({ type: 'traced', id: 'a', local_ms: 3, open_ms: 12 }) },
  { name: 'traced with a negative time', text: json({ type: 'traced', id: 'a', local_ms: -1, open_ms: 12 }) },
  { name: 'dial with port 0', text: json({ type: 'dial', id: 'a', port: 0, path: '/v1/transfer/l/a', visitor: '' }) },
  { name: 'dial with a path that is none', text: json({ type: 'dial', id: 'a', port: 22, path: 'http://x/', visitor: '' }) },
  { name: 'open', text: json({ type: 'open', channel: 0, path: '/v1/transfer/tcp-listener-1/kq3rB0mZ8x1Y', credit: 2048 }) },
  { name: 'open without credit', text: json({ type: 'open', channel: 0, path: '/v1/transfer/tcp-listener-1/a', credit: 0 }) },
  { name: 'open with too much credit', text: json({ type: 'open', channel: 0, path: '/v1/transfer/l/a', credit: 1_048_577 }) },
  { name: 'refused', text: json({ type: 'refused', id: 'a', code: 'local_refused' }) },
  { name: 'refused with a code that is none', text: json({ type: 'refused', id: 'a', code: 'sorry' }) },
  { name: 'wind_down', text: json({ type: 'wind_down', reconnect_ms: 5000 }) },
  { name: 'wind_down with a negative time', text: json({ type: 'wind_down', reconnect_ms: -1 }) },
  { name: 'bye', text: json({ type: 'bye', code: 'moved', message: 'the lease is held on a newer control connection' }) },
  { name: 'bye with a code of a later version', text: json({ type: 'bye', code: 'weather', message: '' }) },
  { name: 'assign', text: json({ type: 'assign', id: 'a', port: 80, visitor: 'edge:1f' }) },
  {
    name: 'assign of a traced visit',
    text: json({ type: 'assign', id: 'a', port: 80, visitor: 'edge:1f', traceparent: TRACE }),
  },
  { name: 'accepted', text: json({ type: 'accepted', id: 'a' }) },
  { name: 'accepted, traced', text: json({ type: 'accepted', id: 'a', local_ms: 3 }) },
  { name: 'idle', text: json({ type: 'idle', id: 'a' }) },
  { name: 'idle without an id', text: json({ type: 'idle' }) },
  { name: 'unknown fields are ignored', text: json({ type: 'idle', id: 'a', mood: 'good', n: null }) },
  { name: 'unknown types are ignored', text: json({ type: 'weather', sky: 'blue' }) },
  { name: 'a type named like a property of all objects', text: json({ type: 'constructor' }) },
  { name: 'no type', text: json({ id: 'a' }) },
  { name: 'type is not text', text: json({ type: 1 }) },
  { name: 'nested object', text: json({ type: 'weather', sky: { color: 'blue' } }) },
  { name: 'array', text: '[]' },
  { name: 'null', text: 'null' },
  { name: 'not JSON', text: '{"type":"idle"' },
  { name: 'empty', text: '' },
  { name: 'spaces and escapes', text: ' { "type" : "idle" , "id" : "\\u0061" } ' },
  { name: '1024 bytes', text: json({ type: 'x', pad: 'a'.repeat(1003) }) },
  { name: '1025 bytes', text: json({ type: 'x', pad: 'a'.repeat(1004) }) },
];

export interface InlineCase {
  name: string;
  role: 'device' | 'server';
  channels: number;
  steps: InlineStep[];
}
export type InlineStep =
  /** `open` is sent by a device, or has come to a server. */
  | { open: number; credit: number }
  /** The payload of a binary message has come. */
  | { receive: string }
  /** As much of `bytes` (all 61) as may be sent in one message. */
  | { send: number; bytes: number }
  | { grant: number; bytes: number }
  | { end: number }
  | { close: number; code: number };

export const INLINE_CASES: InlineCase[] = [
  {
    name: 'a device: opened, bytes both ways, both ENDs, closed by the server, free again',
    role: 'device',
    channels: 2,
    steps: [
      { open: 0, credit: 8 },
      { send: 0, bytes: 3 },
      { receive: '0000 02 00000005' },
      { receive: '0000 00 68656c6c6f' },
      { send: 0, bytes: 9 },
      { send: 0, bytes: 4 },
      { grant: 0, bytes: 5 },
      { receive: '0000 01' },
      { end: 0 },
      { receive: '0000 03 03e8' },
      { close: 0, code: 1000 },
      { open: 0, credit: 1 },
    ],
  },
  {
    name: 'a server: what the device may be sent, and how it is reset',
    role: 'server',
    channels: 2,
    steps: [
      { open: 1, credit: 4 },
      { grant: 1, bytes: 65_536 },
      { send: 1, bytes: 4 },
      { receive: '0001 00 61*16384' },
      { close: 1, code: 4430 },
      { receive: '0001 00 61' },
      { receive: '0001 02 00000004' },
      { receive: '0001 03 114e' },
      { receive: '0001 00 61' },
    ],
  },
  {
    name: 'a channel that has no credit may still END and CLOSE',
    role: 'device',
    channels: 1,
    steps: [{ open: 0, credit: 1 }, { end: 0 }, { close: 0, code: 4420 }, { receive: '0000 03 1144' }],
  },
  { name: 'data beyond the credit', role: 'device', channels: 1, steps: [{ open: 0, credit: 2 }, { receive: '0000 00 616161' }] },
  {
    name: 'credit counts what has come before',
    role: 'device',
    channels: 1,
    steps: [{ open: 0, credit: 2 }, { receive: '0000 00 6161' }, { grant: 0, bytes: 1 }, { receive: '0000 00 6161' }],
  },
  {
    name: 'data after END',
    role: 'server',
    channels: 1,
    steps: [{ open: 0, credit: 2 }, { grant: 0, bytes: 9 }, { receive: '0000 01' }, { receive: '0000 00 61' }],
  },
  {
    name: 'END twice',
    role: 'device',
    channels: 1,
    steps: [{ open: 0, credit: 2 }, { receive: '0000 01' }, { receive: '0000 01' }],
  },
  { name: 'a channel that is not open', role: 'device', channels: 2, steps: [{ open: 0, credit: 2 }, { receive: '0001 00 61' }] },
  { name: 'a channel beyond the granted ones', role: 'server', channels: 2, steps: [{ receive: '0002 01' }] },
  { name: 'open beyond the granted ones', role: 'server', channels: 2, steps: [{ open: 2, credit: 1 }] },
  {
    name: 'open of a channel that is not free',
    role: 'server',
    channels: 2,
    steps: [
      { open: 0, credit: 1 },
      { close: 0, code: 4430 },
      { open: 0, credit: 1 },
    ],
  },
  {
    name: 'after the CLOSE of the peer nothing may come',
    role: 'server',
    channels: 1,
    steps: [{ open: 0, credit: 1 }, { receive: '0000 03 114e' }, { receive: '0000 01' }],
  },
  {
    name: 'credit over 1,048,576 in all',
    role: 'server',
    channels: 1,
    steps: [{ open: 0, credit: 1_048_576 }, { receive: '0000 02 00000001' }],
  },
  { name: 'credit of 0', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 02 00000000' }] },
  { name: 'credit of three bytes', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 02 000001' }] },
  { name: 'END with a byte', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 01 61' }] },
  { name: 'CLOSE without a code', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 03' }] },
  { name: 'CLOSE with code 999', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 03 03e7' }] },
  { name: 'data without a byte', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 00' }] },
  { name: 'a message of two bytes', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000' }] },
  { name: 'an unknown kind', role: 'device', channels: 1, steps: [{ open: 0, credit: 1 }, { receive: '0000 04' }] },
  {
    name: 'more than 16,384 bytes in one message',
    role: 'device',
    channels: 1,
    steps: [{ open: 0, credit: 100_000 }, { receive: '0000 00 61*16385' }],
  },
];

export interface BackoffCase {
  name: string;
  servers: number;
  steps: { ending: Ending; random: number }[];
}

const failed = (random: number): { ending: Ending; random: number } => ({ ending: { kind: 'failed' }, random });

export const BACKOFF_CASES: BackoffCase[] = [
  {
    name: 'decorrelated jitter grows to 60 s, servers in turn',
    servers: 3,
    steps: [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1].map(failed),
  },
  {
    name: 'only 60 s of stability reset it',
    servers: 1,
    steps: [
      failed(0.99),
      failed(0.99),
      { ending: { kind: 'lost', livedMs: 59_999 }, random: 0.5 },
      { ending: { kind: 'lost', livedMs: 60_000 }, random: 0.5 },
    ],
  },
  {
    name: 'dead transfers: the next server',
    servers: 2,
    steps: [
      { ending: { kind: 'lost', livedMs: 20_000, code: 'transfers_dead' }, random: 0.5 },
      { ending: { kind: 'lost', livedMs: 100_000 }, random: 0.5 },
    ],
  },
  {
    name: '409: 5 s, doubling to 60 s',
    servers: 2,
    steps: [0, 0, 0.5, 0, 0, 0].map((random) => ({ ending: { kind: 'refused', code: 'name_in_use' }, random })),
  },
  {
    name: '401 and 403: slowest pace',
    servers: 1,
    steps: [
      { ending: { kind: 'refused', code: 'unauthorized' }, random: 0 },
      { ending: { kind: 'refused', code: 'forbidden', retryAfterMs: 1000 }, random: 0.999 },
      { ending: { kind: 'lost', livedMs: 100_000, code: 'revoked' }, random: 0.5 },
    ],
  },
  {
    name: 'Retry-After in place of the own backoff, never above 20 s',
    servers: 1,
    steps: [
      { ending: { kind: 'refused', code: 'unavailable', retryAfterMs: 3000 }, random: 0 },
      { ending: { kind: 'refused', code: 'rate_limited', retryAfterMs: 3000 }, random: 0.8 },
      { ending: { kind: 'refused', code: 'recovering', retryAfterMs: 300_000 }, random: 0.8 },
      failed(0.5),
    ],
  },
  {
    name: 'wind_down: somewhere in the slot, same server',
    servers: 2,
    steps: [
      { ending: { kind: 'wind_down', reconnectMs: 10_000 }, random: 0.25 },
      { ending: { kind: 'wind_down', reconnectMs: 10_000 }, random: 0 },
    ],
  },
];
