import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { echo, serve, target, until } from '../../sdk/test/kit.ts';
import type { Peer, TestControl, TestServer, TestServerOptions } from '../../sdk/test/server.ts';
import { alice, type NativeAgent } from './agent-kit.ts';
import { BUILD_MS, builtAgent, NATIVE } from './build.ts';

await installSystemPackages(['native']);

const FIXTURES = join(NATIVE, '../../libs/relay/test/fixtures');
const MIB = 1024 * 1024;
let program: string;

beforeAll(async () => {
  program = await builtAgent();
}, BUILD_MS);

interface Scene {
  server: TestServer;
  agent: NativeAgent;
  control: TestControl;
}

async function scene(args: string[], options: TestServerOptions = {}, env: Record<string, string> = {}): Promise<Scene> {
  const server = await serve(options);
  const agent = alice(program, server, args, env);
  await agent.event('ready');
  return { server, agent, control: await server.control(0) };
}

const threads = ({ agent }: Scene): number => readdirSync(`/proc/${agent.pid}/task`).length;
const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Sends whatever is asked for, as far as it is taken, for as long as it is wanted. */
const endless = (socket: Socket): void => {
  const block = randomBytes(64 * 1024);
  const more = (): void => {
    while (!socket.destroyed && socket.write(block));
  };
  socket.on('drain', more);
  more();
};

/** Counts what comes, in place of keeping it. */
function count(peer: Peer): () => number {
  let bytes = 0;
  peer.socket.removeAllListeners('message');
  peer.socket.on('message', (data: Buffer) => {
    bytes += data.length;
  });
  return () => bytes;
}

describe.each<[string, TestServerOptions, string[]]>([
  ['without TLS', {}, []],
  [
    'over TLS',
    { tls: { cert: readFileSync(join(FIXTURES, 'cert.pem'), 'utf8'), key: readFileSync(join(FIXTURES, 'key.pem'), 'utf8') } },
    ['--ca-file', join(FIXTURES, 'cert.pem')],
  ],
])('what moves much, %s', (_how, options, args) => {
  it('goes by a second thread, whole in both directions, to the end of each', async () => {
    const at = await scene([`tcp:7=127.0.0.1:${await target(echo)}`, ...args], options);
    const quiet = threads(at);
    const peer = await at.server.transfer(at.control, 7);
    const bytes = randomBytes(24 * MIB);
    for (let from = 0; from < bytes.length; from += 64 * 1024) peer.send(bytes.subarray(from, from + 64 * 1024));
    await until('some to be back', () => peer.received.length > 8 * MIB);
    peer.end();
    await until('the end', () => peer.ended);
    expect(digest(peer.received)).toBe(digest(bytes));
    const all = { port: 7, outcome: 'ok', to_device: bytes.length, to_visitor: bytes.length };
    expect(await at.agent.event('transfer')).toMatchObject(all);
    expect((await until('the close', () => peer.closed)).code).toBe(1000);
    await until('the second thread, and no other', () => threads(at) === quiet + 1);
  });

  it('lets others be served meanwhile, and is told of like any other when its visitor resets', async () => {
    const sockets: Socket[] = [];
    const source = await target((socket) => {
      sockets.push(socket);
      endless(socket);
    });
    const at = await scene([`tcp:1=127.0.0.1:${source}`, `tcp:2=127.0.0.1:${await target(echo)}`, ...args], options);
    const bulk = await at.server.transfer(at.control, 1);
    const bytes = count(bulk);
    await until('much to come', () => bytes() > 16 * MIB);
    for (let turn = 0; turn < 50; turn += 1) {
      const peer = await at.server.transfer(at.control, 2);
      peer.send(`visitor ${turn}`);
      peer.end();
      await until('the echo', () => peer.ended);
      expect(peer.received.toString()).toBe(`visitor ${turn}`);
    }
    const error = new Promise<NodeJS.ErrnoException>((resolve) => sockets[0]?.once('error', resolve));
    bulk.socket.close(4430, 'peer_reset');
    expect((await error).code).toBe('ECONNRESET');
    const last = await at.agent.event('transfer', 50);
    expect(last).toMatchObject({ port: 1, outcome: 'visitor_reset' });
    expect(last.to_visitor).toBeGreaterThan(16 * MIB);
  });

  it('waits for a target that stands still, and goes on with it', async () => {
    const sockets: Socket[] = [];
    const sink = await target((socket) => sockets.push(socket.resume()));
    const at = await scene([`tcp:1=127.0.0.1:${sink}`, ...args], options);
    const peer = await at.server.transfer(at.control, 1);
    const [socket] = await until('the socket', () => (sockets.length > 0 ? sockets : undefined));
    const hash = createHash('sha256');
    let taken = 0;
    socket?.on('data', (chunk: Buffer) => {
      hash.update(chunk);
      taken += chunk.length;
      if (taken > 8 * MIB && taken - chunk.length <= 8 * MIB) socket.pause();
    });
    const bytes = randomBytes(24 * MIB);
    for (let from = 0; from < bytes.length; from += 64 * 1024) peer.send(bytes.subarray(from, from + 64 * 1024));
    await until('the stop', () => socket?.isPaused());
    await new Promise((done) => setTimeout(done, 500)); // long enough to be taken back from the second thread
    socket?.resume();
    await until('all of it', () => taken === bytes.length);
    expect(hash.digest('hex')).toBe(digest(bytes));
  });

  it('is reset when the agent is to stop at once, which it does with 0', async () => {
    const at = await scene([`tcp:1=127.0.0.1:${await target(endless)}`, ...args], options);
    const peer = await at.server.transfer(at.control, 1);
    const bytes = count(peer);
    await until('much to come', () => bytes() > 16 * MIB);
    const stopped = at.agent.stop();
    await new Promise((done) => setTimeout(done, 700)); // a second signal counts after half a second
    const before = bytes();
    await until('it to go on meanwhile', () => bytes() > before);
    at.agent.child.kill('SIGTERM');
    expect(await stopped).toBe(0);
    expect(await at.agent.event('transfer')).toMatchObject({ port: 1, outcome: 'wind_down' });
    expect((await until('the close', () => peer.closed)).code).not.toBe(1000);
  });
});
