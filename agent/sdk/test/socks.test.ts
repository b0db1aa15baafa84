import { once } from 'node:events';
import net from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SocksParser, type SocksStep } from '../src/access/socks.ts';
import { Access, type LocalServer, listenSocks } from '../src/index.ts';

const GREETING = Buffer.of(5, 1, 0);
const request = (host: string, port: number, { command = 1, reserved = 0 } = {}): Buffer =>
  Buffer.concat([Buffer.of(5, command, reserved, 3, host.length), Buffer.from(host), Buffer.of(port >> 8, port & 0xff)]);

/** Every step of a conversation that comes in these chunks. */
function converse(chunks: readonly Buffer[]): SocksStep[] {
  const parser = new SocksParser();
  const steps: SocksStep[] = [];
  for (const chunk of chunks) {
    for (let step = parser.push(chunk); step.kind !== 'more'; step = parser.push(Buffer.alloc(0))) {
      steps.push(step);
      if (step.kind !== 'answer') return steps;
    }
  }
  return steps;
}
const cut = (bytes: Buffer, at: readonly number[]): Buffer[] => {
  const edges = [0, ...at.filter((edge) => edge < bytes.length).sort((a, b) => a - b), bytes.length];
  return edges.slice(1).map((edge, index) => bytes.subarray(edges[index], edge));
};

describe('the SOCKS parser', () => {
  it('understands a request however it is cut, and hands on what comes behind it', () => {
    const bytes = Buffer.concat([GREETING, request('alice.culvert', 22), Buffer.from('SSH-2.0')]);
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length)), (at) => {
        const last = converse(cut(bytes, at)).at(-1);
        expect(last).toMatchObject({ kind: 'connect', host: 'alice.culvert', port: 22 });
        const rest = last?.kind === 'connect' ? last.rest.toString() : '';
        expect('SSH-2.0'.startsWith(rest)).toBe(true);
      }),
    );
  });

  it('gives addresses as text', () => {
    const ipv4 = Buffer.of(5, 1, 0, 1, 127, 0, 0, 1, 0, 80);
    expect(converse([GREETING, ipv4]).at(-1)).toMatchObject({ kind: 'connect', host: '127.0.0.1', port: 80 });
    const ipv6 = Buffer.concat([Buffer.of(5, 1, 0, 4), Buffer.alloc(15), Buffer.of(1, 1, 187)]);
    expect(converse([GREETING, ipv6]).at(-1)).toMatchObject({ kind: 'connect', host: '[0:0:0:0:0:0:0:1]', port: 443 });
  });

  it.each([
    ['SOCKS 4', Buffer.of(4, 1, 0, 80), ''],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n'), ''],
    ['authentication only', Buffer.of(5, 2, 1, 2), '05ff'],
    ['no method at all', Buffer.of(5, 0), '05ff'],
    ['BIND', Buffer.concat([GREETING, request('a.culvert', 1, { command: 2 })]), '05070001000000000000'],
    ['UDP ASSOCIATE', Buffer.concat([GREETING, request('a.culvert', 1, { command: 3 })]), '05070001000000000000'],
    ['a reserved byte', Buffer.concat([GREETING, request('a.culvert', 1, { reserved: 1 })]), '05010001000000000000'],
    ['an unknown address type', Buffer.concat([GREETING, Buffer.of(5, 1, 0, 9, 0)]), '05080001000000000000'],
  ])('refuses %s', (_what, bytes, answer) => {
    const step = converse([bytes]).at(-1);
    expect(step).toMatchObject({ kind: 'refuse' });
    expect(step?.kind === 'refuse' ? step.bytes.toString('hex') : '').toBe(answer);
  });

  it('comes to an end with anything, and never throws', () => {
    const chunk = fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes));
    const likely = fc.constantFrom(GREETING, request('alice.culvert', 22), Buffer.of(5), Buffer.of(5, 255));
    fc.assert(fc.property(fc.array(fc.oneof(chunk, likely), { maxLength: 8 }), (chunks) => void converse(chunks)));
  });
});

describe('the SOCKS server', () => {
  let server: LocalServer;
  const ended: string[] = [];
  beforeAll(async () => {
    const access = new Access({
      server: 'http://127.0.0.1:1',
      token: 'x',
      limits: { SOCKS_MS: 400, ACCESS_LOCAL: 8, CLOSE_MS: 300 },
    });
    const onClosed = (result: object): void => void ended.push('code' in result ? String(result.code) : 'ok');
    server = await listenSocks(access, { host: '127.0.0.1', port: 0, onClosed });
  });
  afterAll(() => server?.close());

  const closed = (socket: net.Socket): Promise<unknown> =>
    new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
  const talk = async (bytes: Buffer, end = false): Promise<string> => {
    const socket = net.connect(server.port, '127.0.0.1');
    let heard = Buffer.alloc(0);
    socket
      .on('error', () => {})
      .on('data', (chunk) => {
        heard = Buffer.concat([heard, chunk]);
      });
    socket.write(bytes);
    if (end) socket.end();
    await closed(socket);
    return heard.toString('hex');
  };

  it('answers a host that is no device with 2, and an unreachable server with 3', async () => {
    for (const host of ['example.com', 'culvert', '.culvert', 'a.b.culvert', 'ALICE_.culvert', `${'a'.repeat(64)}.culvert`, '']) {
      expect(await talk(Buffer.concat([GREETING, request(host, 80)])), host).toBe('050005020001000000000000');
    }
    expect(await talk(Buffer.concat([GREETING, request('alice.culvert', 0)]))).toBe('050005020001000000000000');
    expect(await talk(Buffer.concat([GREETING, request('Alice.Culvert.', 80)]))).toBe('050005030001000000000000');
  });

  it('ends clients that are slow, silent, or leave in the middle', async () => {
    expect(await talk(Buffer.alloc(0))).toBe('');
    expect(await talk(GREETING.subarray(0, 1))).toBe('');
    expect(await talk(GREETING)).toBe('0500');
    expect(await talk(Buffer.concat([GREETING, request('alice.culvert', 22).subarray(0, 7)]), true)).toBe('0500');
  });

  it('resets who comes beyond its cap, and serves others afterwards', async () => {
    const idle = Array.from({ length: 8 }, () => net.connect(server.port, '127.0.0.1'));
    await Promise.all(idle.map((socket) => once(socket, 'connect')));
    const deadline = Date.now() + 10_000;
    let beyond = 'served';
    while (beyond !== '' && Date.now() < deadline) beyond = await talk(GREETING);
    await Promise.all(idle.map((socket) => (socket.destroyed ? undefined : closed(socket.resume()))));
    // Their ends are seen here before the server counts them as gone.
    let answer = '';
    while (answer === '' && Date.now() < deadline) answer = await talk(Buffer.concat([GREETING, request('example.com', 80)]));
    expect(answer).toBe('050005020001000000000000');
  });
});
