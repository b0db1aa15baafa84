import net from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { type Stack, startStack } from '../harness/system.ts';
import { echo, startTcpTarget, type Target } from '../harness/targets.ts';
import { curl, tcpVisitor, until } from './support.ts';

let stack: Stack;
let tcp: Target;
let token: string;
let edgePort: number;
let witness: number;

beforeAll(async () => {
  stack = await startStack({
    env: {
      CULVERT_LIMIT_DIAL_MS: '1500',
      CULVERT_LIMIT_HANDSHAKE_MS: '3000',
      CULVERT_LIMIT_ACQUIRE_MS: '2500',
      CULVERT_LIMIT_PROBE_MS: '1000',
      CULVERT_LIMIT_LOCAL_CONNECT_MS: '1000',
    },
  });
  tcp = await startTcpTarget(echo);
  edgePort = Number(new URL(stack.info.edge).port);
  token = await stack.addDevice('mallory');
  const agent = await stack.runAgent({
    name: 'witness',
    token: await stack.addDevice('witness'),
    mappings: [`tcp:7=127.0.0.1:${tcp.port}`],
  });
  witness = agent.endpoint(7).public_port as number;
});
afterAll(async () => {
  await stack?.stop();
  await tcp?.close();
});

/** Nothing that a hostile peer does may disturb another device. */
const witnessIsWell = async (): Promise<void> => {
  expect((await tcpVisitor(witness, 'well')).data.toString()).toBe('well');
};

function handshake(query: string, headers: Record<string, string> = {}): WebSocket {
  return new WebSocket(`ws://127.0.0.1:${edgePort}/v1/control?${query}`, 'culvert.v1', {
    headers: { authorization: `Bearer ${token}`, ...headers },
    perMessageDeflate: false,
  });
}

async function refusalOf(query: string, headers?: Record<string, string>): Promise<{ status: number; body: string }> {
  const socket = handshake(query, headers);
  return new Promise((resolve, reject) => {
    socket.on('error', () => {});
    socket.on('open', () => {
      socket.terminate();
      reject(new Error(`accepted: ${query}`));
    });
    socket.on('unexpected-response', (_request, response) => {
      let body = '';
      response.on('data', (chunk) => {
        body += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
  });
}

async function connected(query: string): Promise<{ socket: WebSocket; messages: Record<string, unknown>[] }> {
  const socket = handshake(query);
  const messages: Record<string, unknown>[] = [];
  socket.on('error', () => {});
  socket.on('message', (data: Buffer) => messages.push(JSON.parse(data.toString())));
  await until('ready', () => (messages.some(({ type }) => type === 'ready') ? true : undefined));
  return { socket, messages };
}

const tooMany = Array.from({ length: 33 }, (_, at) => `tcp:${1000 + at}`).join();

describe('handshakes that are wrong', () => {
  it.each([
    ['name=Mallory&ports=80', /lower|a-z/],
    ['name=mal.lory&ports=80', /a-z/],
    [`name=${'m'.repeat(64)}&ports=80`, /63/],
    ['name=m%C3%BCller&ports=80', /a-z/],
    ['ports=80', /name/],
    ['name=mallory', /ports/],
    ['name=mallory&ports=0', /65535/],
    ['name=mallory&ports=65536', /65535/],
    [`name=mallory&ports=${tooMany}`, /32/],
    ['name=mallory&ports=80,tcp:80', /twice/],
    ['name=mallory&ports=80&transfers=x', /transfers/],
    ['name=mallory&ports=80&max_frame=-1', /max_frame/],
  ])('refuses %s and says what would be right', async (query, expected) => {
    const { status, body } = await refusalOf(query);
    expect(status).toBe(400);
    expect(JSON.parse(body)).toMatchObject({ code: 'bad_request' });
    expect(JSON.parse(body).message).toMatch(expected);
    await witnessIsWell();
  });
  it('refuses no token, a wrong one, and a wrong subprotocol', async () => {
    expect((await refusalOf('name=mallory&ports=80', { authorization: '' })).status).toBe(401);
    expect((await refusalOf('name=mallory&ports=80', { authorization: 'Bearer nonsense' })).status).toBe(401);
    const plain = await curl(stack.info.edge, '127.0.0.1', '/v1/control?name=mallory&ports=80', '-i');
    expect(plain.stdout).toMatch(/^HTTP\/1.1 4/);
  });
  it('ends a handshake that never ends', async () => {
    const socket = net.connect(edgePort, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET /v1/control?name=mallory&ports=80 HTTP/1.1\r\nHost: x\r\n');
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    await new Promise((resolve) => socket.once('close', resolve));
    expect(answer === '' || /^HTTP\/1.1 4/.test(answer)).toBe(true);
    await witnessIsWell();
  });
  it('refuses a header of 100 kB', async () => {
    const answer = await curl(stack.info.edge, '127.0.0.1', '/v1/control', '-i', '-H', `X-Big: ${'x'.repeat(100_000)}`);
    expect(answer.stdout).toMatch(/^HTTP\/1.1 4/);
    await witnessIsWell();
  });
});

describe('devices that misbehave', () => {
  it('closes the one that sends a control message of 1 MiB', async () => {
    const { socket } = await connected('name=mallory&ports=tcp:22');
    const code = new Promise((resolve) => socket.once('close', resolve));
    socket.send('x'.repeat(2 ** 20));
    expect([1009, 4400]).toContain(await code);
    await witnessIsWell();
  });
  it.each(['{', '[]', '"x"', '{"type":7}', '{"type":"refused"}'])('closes the one that says %s', async (text) => {
    const { socket } = await connected('name=mallory&ports=tcp:22');
    const code = new Promise((resolve) => socket.once('close', resolve));
    socket.send(text);
    expect(await code).toBe(4400);
  });
  it('ignores unknown message types', async () => {
    const { socket } = await connected('name=mallory&ports=tcp:22');
    socket.send('{"type":"from_the_future","x":1}');
    const pong = new Promise((resolve) => socket.once('pong', resolve));
    socket.ping();
    await pong;
    socket.close(1000);
    await new Promise((resolve) => socket.once('close', resolve));
  });
  it('resets the visitor of a device that never dials, at the dial deadline', async () => {
    const { socket, messages } = await connected('name=mallory&ports=tcp:22');
    const port = messages.find(({ type }) => type === 'endpoint')?.public_port as number;
    const got = await tcpVisitor(port, 'hello?', { end: false });
    expect(got.error).toBe('ECONNRESET');
    expect(messages.some(({ type }) => type === 'dial')).toBe(true);
    socket.close(1000);
    await new Promise((resolve) => socket.once('close', resolve));
    await witnessIsWell();
  });
  it('takes a transfer id once only, of the right device only', async () => {
    const { socket, messages } = await connected('name=mallory&ports=tcp:22');
    const port = messages.find(({ type }) => type === 'endpoint')?.public_port as number;
    const visitor = net.connect(port, '127.0.0.1');
    visitor.on('error', () => {});
    const dial = await until('a dial', () => messages.find(({ type }) => type === 'dial'));
    const other = await stack.addDevice('other');
    const attach = (bearer: string, path = dial.path as string): Promise<number> =>
      new Promise((resolve) => {
        const transfer = new WebSocket(`ws://127.0.0.1:${edgePort}${path}`, 'culvert.v1', {
          headers: { authorization: `Bearer ${bearer}` },
        });
        transfer.on('error', () => {});
        transfer.on('open', () => resolve(101));
        transfer.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0));
      });
    expect(await attach(other)).toBeGreaterThanOrEqual(401);
    expect(await attach(token, `${(dial.path as string).slice(0, -1)}_`)).toBeGreaterThanOrEqual(400);
    expect(await attach(token)).toBe(101);
    expect(await attach(token)).toBe(404);
    visitor.destroy();
    socket.close(1000);
    await new Promise((resolve) => socket.once('close', resolve));
  });
});
