import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { startRedis } from '../harness/servers.ts';
import { type RunningAgent, type Stack, startStack } from '../harness/system.ts';
import {
  digestAfterEnd,
  echo,
  greetFirst,
  patternDigest,
  startTcpTarget,
  startWebTarget,
  type Target,
} from '../harness/targets.ts';
import { client, curl, tcpVisitor, until } from './support.ts';

/** 64 MiB keeps `npm test` short; the long run asks for more. */
const BULK = Number(process.env.CULVERT_TEST_BULK_MIB ?? 64) * 2 ** 20;

let stack: Stack;
let agent: RunningAgent;
let web: Target;
let targets: Target[];
let redis: Awaited<ReturnType<typeof startRedis>>;
let dir: string;
let host: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'culvert-clients-'));
  stack = await startStack({});
  web = await startWebTarget();
  redis = await startRedis();
  targets = await Promise.all([
    startTcpTarget(echo),
    startTcpTarget(greetFirst),
    startTcpTarget(digestAfterEnd),
    startTcpTarget(echo, '::1'),
  ]);
  const [e, g, d, six] = targets.map(({ port }) => port);
  agent = await stack.runAgent({
    name: 'box',
    token: await stack.addDevice('box'),
    mappings: [
      `80=127.0.0.1:${web.port}`,
      `tcp:7=127.0.0.1:${e}`,
      `tcp:25=localhost:${g}`,
      `tcp:9=127.0.0.1:${d}`,
      `tcp:6=[::1]:${six}`,
      `tcp:6379=127.0.0.1:${redis.port}`,
    ],
  });
  host = new URL(agent.endpoint(80).url as string).hostname;
});
afterAll(async () => {
  await agent?.stop();
  await stack?.stop();
  for (const target of [web, ...(targets ?? [])]) await target?.close();
  await redis?.stop();
  await rm(dir, { recursive: true, force: true });
});

const portOf = (port: number): number => agent.endpoint(port).public_port as number;

describe('curl', () => {
  it.each(['', '?chunked'])('downloads with an equal checksum %s', async (query) => {
    const file = join(dir, 'down');
    const answer = await curl(stack.info.edge, host, `/bytes/${BULK}${query}`, '-o', file);
    expect(answer.stderr).toBe('');
    expect(
      createHash('sha256')
        .update(await readFile(file))
        .digest('hex'),
    ).toBe(patternDigest(BULK));
  });
  it.each([[], ['-H', 'Transfer-Encoding: chunked'], ['-H', 'Expect: 100-continue']])(
    'uploads with an equal checksum %j',
    async (...args) => {
      const file = join(dir, 'up');
      const bytes = randomBytes(BULK);
      await writeFile(file, bytes);
      const answer = await curl(stack.info.edge, host, '/upload', '-T', file, '-X', 'POST', ...args);
      expect(answer.stderr).toBe('');
      expect(JSON.parse(answer.stdout)).toMatchObject({ bytes: BULK, sha256: createHash('sha256').update(bytes).digest('hex') });
    },
  );
  it('gets a range', async () => {
    const answer = await curl(stack.info.edge, host, '/bytes/1000000', '-r', '100000-100009', '-w', '%{http_code}');
    expect(answer.stdout.slice(-3)).toBe('206');
    expect(answer.stdout.length).toBe(13);
  });
  it('shows the device who is asking, and does not let visitors forge it', async () => {
    const answer = await curl(
      stack.info.edge,
      host,
      '/headers',
      '-i',
      '-H',
      'X-Forwarded-For: 6.6.6.6',
      '-H',
      'Culvert-Secret: x',
      '-H',
      'X-Forwarded-Host: evil',
    );
    const [head, body] = answer.stdout.split('\r\n\r\n') as [string, string];
    const headers = JSON.parse(body);
    expect(headers['x-forwarded-for']).toBe('127.0.0.1');
    expect(headers['x-forwarded-proto']).toBe('http');
    expect(headers['x-forwarded-host']).toMatch(new RegExp(`^${host}`));
    expect(headers['culvert-secret']).toBeUndefined();
    expect(headers['culvert-visitor']).toMatch(/\S/);
    expect(head.toLowerCase()).not.toContain('culvert-outcome');
  });
});

describe('streams through a page', () => {
  it('carries a WebSocket, text and binary, both ways', async () => {
    const { port } = new URL(stack.info.edge);
    const socket = new WebSocket(`ws://127.0.0.1:${port}/chat`, { headers: { host: `${host}:${port}` } });
    await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));
    const bytes = randomBytes(300_000);
    const answers: Buffer[] = [];
    socket.on('message', (data: Buffer) => answers.push(data));
    socket.send('hello');
    socket.send(bytes);
    await until('both echoes', () => (answers.length === 2 ? true : undefined));
    expect(answers[0]?.toString()).toBe('hello');
    expect(answers[1]?.equals(bytes)).toBe(true);
    socket.close();
  });
  it('brings server-sent events one by one, and ends at the device when the visitor leaves', async () => {
    const { port } = new URL(stack.info.edge);
    const visitor = net.connect(Number(port), '127.0.0.1');
    let text = '';
    visitor.on('data', (data) => {
      text += data;
    });
    visitor.write(`GET /sse HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await until('three events', () => (text.includes('data: 3') ? true : undefined));
    visitor.destroy();
    await until('the device knows', () => (web.open() <= 8 ? true : undefined));
  });
});

describe('any TCP', () => {
  it('is binary clean both ways', async () => {
    const bytes = randomBytes(3_000_001);
    const got = await tcpVisitor(portOf(7), bytes, { deadlineMs: 30_000 });
    expect(got.data.equals(bytes)).toBe(true);
    expect(got.ended).toBe(true);
  });
  it('lets the server speak first', async () => {
    const socket = net.connect(portOf(25), '127.0.0.1');
    const greeting = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    expect(greeting.toString()).toBe('220 welcome\r\n');
    socket.destroy();
  });
  it('keeps the half-close of nc -N', async () => {
    const answer = await client('nc', ['-N', '127.0.0.1', String(portOf(9))], { input: 'x'.repeat(100_000) });
    expect(answer.stdout.split(' ')[0]).toBe('100000');
  });
  it('reaches a target by IPv6, from a visitor by IPv6', async () => {
    const got = await tcpVisitor(portOf(6), 'six', { host: '::1' });
    expect(got.data.toString()).toBe('six');
  });
  it('serves redis-cli', async () => {
    const set = await client('redis-cli', ['-p', String(portOf(6379)), 'SET', 'k', 'v']);
    expect(set.stdout.trim()).toBe('OK');
    const get = await client('redis-cli', ['-p', String(portOf(6379)), 'GET', 'k']);
    expect(get.stdout.trim()).toBe('v');
  });
});

describe('many visitors', () => {
  it('serves 200 at once, and leaves no connection behind', async () => {
    const all = await Promise.all(
      Array.from({ length: 200 }, (_, at) => tcpVisitor(portOf(7), `visitor ${at}`, { deadlineMs: 30_000 })),
    );
    expect(all.map(({ data }) => data.toString())).toEqual(Array.from({ length: 200 }, (_, at) => `visitor ${at}`));
    await until('the target is alone again', () => (targets[0]?.open() === 0 ? true : undefined));
  });
  it('leaves the others alone when one sends nothing', async () => {
    const silent = net.connect(portOf(7), '127.0.0.1');
    await new Promise((resolve) => silent.once('connect', resolve));
    expect((await tcpVisitor(portOf(7), 'talker')).data.toString()).toBe('talker');
    silent.destroy();
  });
});
