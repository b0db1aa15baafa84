import { parseControlHandshake, renderUpgrade } from '@culvert/wire';
import { NAME, TOKEN } from '../agent.ts';
import { textFrame } from '../peer.ts';
import type { Item } from '../suite.ts';
import { echo } from '../targets.ts';
import { check, never, until } from '../wait.ts';
import { PORT, readyAgent } from './kit.ts';

/** A handshake with an answer that a client must not take. */
const WRONG_ANSWERS: [what: string, change: (answer: string) => string][] = [
  ['a wrong Sec-WebSocket-Accept', (answer) => answer.replace(/Accept: ./, (found) => `${found.slice(0, -1)}!`)],
  ['no subprotocol', (answer) => answer.replace(/Sec-WebSocket-Protocol: [^\r]*\r\n/, '')],
  ['an extension', (answer) => answer.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n')],
];

export const HANDSHAKE: Item[] = [
  {
    name: 'handshake',
    what: 'the control handshake is complete and well-formed',
    async run(bench) {
      bench.start({ mappings: ['80=127.0.0.1:1', 'tcp:7=127.0.0.1:1', 'https:8443=127.0.0.1:1'] });
      const { request } = await bench.server.nextControl();
      const parsed = parseControlHandshake(request.method, request.target, Object.fromEntries(request.headers));
      if (!parsed.ok) return check(false, `the server would refuse it as ${parsed.code}: ${parsed.message}`);
      check(
        request.text.startsWith('GET /v1/control?') && / HTTP\/1\.1\r\n/.test(request.text),
        'the request line is not GET … HTTP/1.1',
      );
      check(request.headers.get('host') === `127.0.0.1:${bench.server.port}`, `Host is ${request.headers.get('host')}`);
      check(!request.headers.has('sec-websocket-extensions'), 'it offers extensions');
      check(parsed.name === NAME, `name is ${parsed.name}`);
      check(parsed.token === TOKEN, 'the bearer token is not the one it was given');
      check(!request.target.includes(TOKEN.slice(4, 24)), 'the token is in the URL');
      const ports = parsed.ports
        .map(({ scheme, port }) => `${scheme}:${port}`)
        .sort()
        .join();
      check(ports === 'http:80,https:8443,tcp:7', `ports are ${ports}`);
      check(request.text.length <= 8192, 'the head is longer than 8,192 bytes');
      check(parsed.boot !== '', 'boot is missing');
    },
  },
  {
    name: 'boot',
    what: 'boot stays the same in a process, and differs between two',
    claim: 'reconnect',
    async run(bench) {
      const agent = bench.start();
      const first = await bench.server.connected();
      first.reset();
      const second = await bench.server.nextControl();
      await agent.kill();
      const boot = (peer: typeof first): string | null => peer.request.query.get('boot');
      check(boot(first) === boot(second), `boot changed from ${boot(first)} to ${boot(second)}`);
      check(
        first.request.headers.get('sec-websocket-key') !== second.request.headers.get('sec-websocket-key'),
        'the key is not new',
      );
      bench.start();
      const other = await bench.server.next('a handshake of another process', (peer) => boot(peer) !== boot(first));
      check(boot(other) !== null, 'boot is missing');
    },
  },
  {
    name: 'handshake-answer',
    what: 'an answer with a wrong accept, without the subprotocol or with an extension is not taken',
    async run(bench) {
      await Promise.all(
        WRONG_ANSWERS.map(async () => {
          const target = await bench.target(echo);
          bench.start({ mappings: [`tcp:${PORT}=${target.address}`] });
        }),
      );
      for (const [what, change] of WRONG_ANSWERS) {
        const peer = await bench.server.nextControl();
        const answer = change(renderUpgrade(peer.request.headers.get('sec-websocket-key') ?? ''));
        const dial = bench.server.dialOf(PORT);
        await peer.write(Buffer.concat([Buffer.from(answer), ...bench.server.greeting(peer), textFrame(dial)]));
        await peer.isOver(`the connection is given up after ${what}`);
        check(peer.texts.length === 0, `it spoke after ${what}`);
        check(!bench.server.peers.some(({ request }) => request.path === dial.path), `it answered a dial after ${what}`);
      }
    },
  },
  {
    name: 'masks',
    what: 'every frame is masked, over ws with a key of its own',
    async run(bench) {
      const { control } = await readyAgent(bench, echo);
      for (let count = 0; count < 8; count++) {
        await control.ping(`mask ${count}`);
        await until('a pong', () => control.pongs.length > count || control.over);
        control.inOrder();
      }
      const keys = masksOf(control.raw);
      check(keys.length >= 8, 'there are fewer frames than pings');
      check(new Set(keys).size > keys.length / 2, `the mask keys are not random: ${keys.slice(0, 4).join(' ')}`);
    },
  },
  {
    name: 'joined',
    what: 'frames in the same segment as the 101 are read, on control and transfer connections',
    async run(bench) {
      const target = await bench.target(echo);
      bench.start({ mappings: [`tcp:${PORT}=${target.address}`] });
      const control = await bench.server.nextControl();
      const dial = bench.server.dialOf(PORT);
      await control.accept(...bench.server.greeting(control), textFrame(dial));
      const transfer = await bench.server.answerTo(control, dial.id);
      if (typeof transfer === 'string') return check(false, `the dial was refused as ${transfer}`);
      await transfer.accept(Buffer.from('8205', 'hex'), Buffer.from('hello'), Buffer.from('8200', 'hex'));
      await transfer.gets('the bytes behind the 101, echoed', 'hello');
      await transfer.finish();
    },
  },
  {
    name: 'leaves',
    what: 'stopped, it says bye, closes with 1000 and exits with 0',
    async run(bench) {
      const { agent, control } = await readyAgent(bench, echo);
      await control.ping('settled');
      await until('a pong', () => control.pongs.length > 0);
      agent.signal('SIGTERM');
      await until('bye', () => control.said('bye'));
      await until('a close frame', () => control.closed);
      check(control.closed?.code === 1000, `it closed with ${control.closed?.code}`);
      check(control.said('bye')?.code === 'bye', `bye has code ${control.said('bye')?.code}`);
      await control.close(1000);
      control.socket.end();
      await until('the end of the process', () => agent.over);
      check(agent.exitCode === 0, `the exit code is ${agent.exitCode}`);
    },
  },
  {
    name: 'unknown',
    what: 'messages of unknown types and unknown fields are ignored',
    async run(bench) {
      const { control } = await readyAgent(bench, echo, {}, { weather: 'fine', later: null });
      await control.say({ type: 'weather', sky: 'blue' });
      await control.say({ type: 'x'.repeat(900) });
      const dial = { ...bench.server.dialOf(PORT), mood: 'good', since: 12 };
      await control.say(dial);
      const transfer = await bench.server.answerTo(control, dial.id);
      if (typeof transfer === 'string') return check(false, `the dial was refused as ${transfer}`);
      await transfer.accept();
      await transfer.say({ type: 'weather', sky: 'grey' });
      await transfer.send('still here');
      await transfer.gets('an echo', 'still here');
      control.inOrder();
    },
  },
  {
    name: 'heartbeat-lost',
    what: 'after 2.5 heartbeats without any frame, and not before, the server is dead',
    waits: true,
    async run(bench) {
      const { control } = await readyAgent(bench, echo, {}, { heartbeat_ms: 2_000 });
      const readyAt = performance.now();
      await control.isOver('the silent connection is given up');
      const silent = (control.closed === undefined ? control.goneAt : control.closedAt) - readyAt;
      check(silent > 4_800, `it gave up after ${Math.round(silent)} ms; expected 5,000`);
      const code = control.closed?.code;
      check(code === undefined || code === 4414, `it closed with ${code}; expected 4414`);
      await until('the TCP connection is closed without an answer', () => control.gone);
    },
  },
  {
    name: 'heartbeat-any-frame',
    what: 'any frame is a sign of life, and pings are answered meanwhile',
    waits: true,
    async run(bench) {
      const { control } = await readyAgent(bench, echo, {}, { heartbeat_ms: 2_000 });
      const frames: (() => Promise<void>)[] = [
        () => control.say({ type: 'weather', sky: 'blue' }),
        () => control.write(Buffer.from('8a00', 'hex')), // a pong that nobody asked for
        () => control.ping('still there'),
      ];
      for (let count = 0; count < 9; count++) {
        await frames[count % frames.length]?.();
        await never('it gave up a connection on which frames came', 1_000, () => control.over);
      }
      check(control.pongs.length === 3, `${control.pongs.length} of 3 pings were answered`);
    },
  },
];

/** Mask keys of the frames in these bytes; an unmasked frame has none. */
export function masksOf(raw: Buffer): string[] {
  const keys: string[] = [];
  for (let at = 0; at + 2 <= raw.length; ) {
    const second = raw[at + 1] as number;
    const short = second & 0x7f;
    const extended = short === 126 ? 2 : short === 127 ? 8 : 0;
    if (at + 2 + extended + 4 > raw.length) break;
    const length = extended === 0 ? short : extended === 2 ? raw.readUInt16BE(at + 2) : Number(raw.readBigUInt64BE(at + 2));
    if (second >= 0x80) keys.push(raw.toString('hex', at + 2 + extended, at + 6 + extended));
    at += 2 + extended + (second >= 0x80 ? 4 : 0) + length;
  }
  return keys;
}
