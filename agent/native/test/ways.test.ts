import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { InlinePeer } from '../../../test/conformance/device/inline-peer.ts';
import { ScriptServer } from '../../../test/conformance/device/server.ts';
import { echo, serve, target, until } from '../../sdk/test/kit.ts';
import {
  dial,
  echoes,
  KEY,
  leavesSilenceAlone,
  silentListener,
  transferPaths,
  waitsForTheAnswer,
} from '../../sdk/test/past-edge.ts';
import type { Peer, TestServer } from '../../sdk/test/server.ts';
import { alice, type NativeAgent, pastEdge } from './agent-kit.ts';
import { BUILD_MS, builtAgent, NATIVE, scratchFolder } from './build.ts';

await installSystemPackages(['native']);
const { dir, remove } = scratchFolder();
afterAll(remove);

const FIXTURES = join(NATIVE, '../../libs/relay/test/fixtures');
let program: string;

beforeAll(async () => {
  program = await builtAgent();
}, BUILD_MS);

const start = (server: { url: string }, args: string[], env: Record<string, string> = {}): NativeAgent =>
  alice(program, server, args, env);

const closeOf = (peer: Peer): Promise<{ code: number }> => until('the close', () => peer.closed);

describe('a transfer past the edge', () => {
  it('is dialled at the listener with its key, never with the device token', async () => {
    const { server, listener, control } = await pastEdge(program, {
      url: (listener) => `${listener.url.replace('http', 'ws')}/at/`,
    });
    const peer = listener.expect('tcp-listener-1'); // the fourth part of a path that has one more in front
    dial(control, 'one');
    await echoes(await peer);
    expect(transferPaths(server)).toEqual([]);
    expect(transferPaths(listener)).toEqual(['/at/v1/transfer/tcp-listener-1/one']);
    expect(listener.handshakes.map(({ headers }) => headers.authorization)).toEqual([`Bearer ${KEY}`]);
  });

  it('falls back to the server when the listener gives none, and goes there at once the next time', async () => {
    const { server, listener, control } = await pastEdge(program);
    for (const id of ['one', 'two']) {
      const peer = server.expect(id); // the listener knows neither
      dial(control, id);
      await echoes(await peer);
    }
    expect(transferPaths(listener)).toEqual(['/v1/transfer/tcp-listener-1/one']);
    expect(server.handshakes.at(-1)?.headers.authorization).toBe('Bearer device-token');
  });

  it('falls back when nobody listens there, or says nothing', async () => {
    const silent = await target((socket) => void socket.resume());
    for (const port of [1, silent]) {
      const { server, control } = await pastEdge(program, { url: () => `ws://127.0.0.1:${port}` });
      const peer = server.expect('one');
      dial(control, 'one');
      await echoes(await peer);
    }
  });

  it('waits for a listener that has the request, and may have joined the visitor', async () => {
    await waitsForTheAnswer(await pastEdge(program));
  });

  it('leaves an address alone that says nothing, even when the server then knows the dial no more', async () => {
    const silent = await silentListener();
    const { agent, ...around } = await pastEdge(program, { url: () => silent.url });
    await leavesSilenceAlone(around, () => agent.event('transfer'));
    expect(silent.asked()).toBe(1);
  });

  it.each(['http://127.0.0.1:1', 'nonsense', 'ftp://127.0.0.1:1', 'ws://'])('is not dialled at %s', async (url) => {
    const { server, control } = await pastEdge(program, { url: () => url });
    const peer = server.expect('one');
    dial(control, 'one');
    await echoes(await peer);
  });

  it('goes to a verified listener only, and never from wss to ws', async () => {
    const [key, cert] = ['key.pem', 'cert.pem'].map((name) => readFileSync(join(FIXTURES, name), 'utf8')) as [string, string];
    const trusting = { tls: { key, cert }, args: ['--ca-file', join(FIXTURES, 'cert.pem')] };
    const good = await pastEdge(program, { url: (listener) => listener.url.replace('https', 'wss'), ...trusting });
    const peer = good.listener.expect('one');
    dial(good.control, 'one');
    await echoes(await peer);
    // The certificate is for localhost, not for this name of it.
    const wrong = await pastEdge(program, {
      url: (listener) => listener.url.replace('https://localhost', 'wss://127.0.0.2'),
      ...trusting,
    });
    const plain = await pastEdge(program, { url: () => `ws://127.0.0.1:${new URL(good.listener.url).port}`, ...trusting });
    for (const { server, listener, control } of [wrong, plain]) {
      const elsewhere = server.expect('two');
      dial(control, 'two');
      await echoes(await elsewhere);
      expect(listener.handshakes).toEqual([]);
    }
  });
});

describe('transfers that do not come about', () => {
  /** A server whose control connections live while nothing answers transfers. */
  async function deadPath(): Promise<{ url: string; server: TestServer }> {
    const server = await serve();
    const sockets = new Set<Socket>();
    const proxy = net.createServer((socket) => {
      sockets.add(socket.on('error', () => {}));
      socket.once('data', (head: Buffer) => {
        if (head.includes('/v1/transfer/')) {
          socket.destroy();
          return;
        }
        const onward = net.connect(Number(new URL(server.url).port), '127.0.0.1');
        sockets.add(onward.on('error', () => {}));
        onward.write(head);
        socket.pipe(onward).pipe(socket);
      });
    });
    proxy.listen(0, '127.0.0.1');
    await until('the proxy', () => proxy.address());
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    });
    return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`, server };
  }

  it('make it give up the control connection after three rounds, and go to the next server', async () => {
    const dead = await deadPath();
    const good = await serve();
    const port = await target(echo);
    const agent = start(dead, ['--server', good.url, `tcp:7=127.0.0.1:${port}`]);
    const control = await dead.server.control(0);
    await agent.event('ready');
    for (let round = 0; round < 3; round += 1) {
      expect(control.closed).toBeUndefined();
      for (const id of ['a', 'b']) {
        control.send({ type: 'dial', id: `${id}${round}`, port: 7, path: `/v1/transfer/x/${id}${round}`, visitor: 'v' });
      }
      await agent.event('transfer', 2 * round + 1);
    }
    expect(await agent.event('disconnected')).toMatchObject({ code: 'transfers_dead' });
    expect((await until('the close', () => control.closed)).code).toBe(4416);
    const peer = await good.transfer(await good.control(0), 7);
    peer.send('hello');
    await until('the echo', () => peer.received.toString() === 'hello');
  });

  it('are no reason to leave a server that answers', async () => {
    const server = await serve();
    const agent = start(server, [`tcp:7=127.0.0.1:${await target(echo)}`]);
    const control = await server.control(0);
    await agent.event('ready');
    for (let round = 0; round < 5; round += 1) {
      control.send({ type: 'dial', id: `r${round}`, port: 7, path: `/v1/transfer/x/r${round}`, visitor: 'v' });
      expect(await agent.event('transfer', round)).toMatchObject({ outcome: 'visitor_gone' });
    }
    expect(control.closed).toBeUndefined();
  });

  it('are what a canary asks after: it is opened and closed, and no target hears of it', async () => {
    const server = await serve();
    let visits = 0;
    const agent = start(server, [`tcp:7=127.0.0.1:${await target(() => void visits++)}`]);
    const control = await server.control(0);
    await agent.event('ready');
    const peer = server.expect('canary');
    control.send({ type: 'dial', id: 'canary', port: 9, path: '/v1/transfer/x/canary', visitor: '', canary: true });
    expect((await closeOf(await peer)).code).toBe(1000);
    expect(visits).toBe(0);
  });
});

describe('inline transfers', () => {
  it('end in order when the agent stops, and hold up a move as long as its slot lasts', async () => {
    const server = await ScriptServer.start();
    onTestFinished(() => server.stop());
    const agent = start(server, [`tcp:7=127.0.0.1:${await target(echo)}`, '--inline', '2']);
    const control = await server.nextControl();
    const inline = new InlinePeer(control, 2);
    await control.accept(...server.greeting(control, { inline: 2 }));
    await agent.event('ready');
    const one = await inline.dial(server, 7);
    inline.grant(one, 65_536);
    await control.say({ type: 'wind_down', reconnect_ms: 600_000 });
    await inline.sendAll(one, Buffer.from('while it moves'));
    await inline.gets('the echo', one, 'while it moves');
    agent.child.kill('SIGTERM');
    await inline.sendAll(one, Buffer.from(' and stops'));
    await inline.gets('the echo', one, 'while it moves and stops');
    inline.end(one);
    await until('END', () => one.ended);
    await until('the bye', () => control.texts.some(({ type }) => type === 'bye'));
    expect(await agent.event('transfer')).toMatchObject({ outcome: 'ok', to_device: 24, to_visitor: 24 });
    await agent.event('stopped');
  });
});

describe('ports for operators alone', () => {
  it('are open to operators, and not to other visitors', async () => {
    const server = await serve();
    const port = await target(echo);
    const agent = start(server, ['80', '--allow-forward', `2000,22=127.0.0.1:${port}`]);
    const control = await server.control(0);
    await agent.event('ready');
    expect(control.ports.map(({ port }) => port)).toEqual([80]);
    expect(await server.dial(control, 22)).toBe('not_allowed');
    const peer = server.expect('op');
    control.send({ type: 'dial', id: 'op', port: 22, path: '/v1/transfer/x/op', visitor: 'operator:vera' });
    const visitor = await peer;
    visitor.send('hello');
    await until('the echo', () => visitor.received.toString() === 'hello');
  });
});

describe('enrolment', () => {
  interface Asked {
    url: string | undefined;
    headers: IncomingHttpHeaders;
  }
  /** Answers enrolments with these statuses, the last one for ever. */
  async function registrar(...answers: [status: number, code?: string][]): Promise<{ url: string; asked: Asked[] }> {
    const asked: Asked[] = [];
    const server = createServer((request, response) => {
      asked.push({ url: `${request.method} ${request.url}`, headers: request.headers });
      const [status, code] = answers.length > 1 ? (answers.shift() as [number, string?]) : (answers[0] as [number, string?]);
      const body = JSON.stringify({ code, message: `said ${status}` });
      const later = status === 503 ? { 'retry-after': '1' } : {};
      response.writeHead(status, { 'content-type': 'application/json', 'content-length': body.length, ...later }).end(body);
    });
    server.listen(0, '127.0.0.1');
    await until('the registrar', () => server.address());
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked };
  }
  const exited = (agent: NativeAgent): Promise<number | null> => new Promise((done) => agent.child.once('close', done));
  const file = (name: string): string => join(dir, 'kept', name);

  it('makes a token that only this user can read, asks until it is answered, and needs no key the next time', async () => {
    const { url, asked } = await registrar([503, 'unavailable'], [201]);
    const keyFile = join(dir, 'key');
    writeFileSync(keyFile, 'cve_1.abc\n');
    const args = ['80', '--token-file', file('first'), '--enroll-file', keyFile];
    const agent = start({ url }, args, { CULVERT_TOKEN: '' });
    await until('two requests', () => asked.length >= 2);
    await agent.event('connecting');
    expect(agent.stderr).toContain('not enrolled yet: said 503');
    expect(asked[0]?.url).toBe('POST /v1/enroll?name=alice');
    expect(asked[0]?.headers.authorization).toBe('Bearer cve_1.abc');
    expect(asked[1]?.headers['device-token']).toBe(asked[0]?.headers['device-token']);
    const token = readFileSync(file('first'), 'utf8');
    expect(token).toBe(`${asked[0]?.headers['device-token']}\n`);
    expect(token).toMatch(/^cvd_[\w-]{43}_[0-9a-z]{7}\n$/);
    expect(token.slice(48, 55)).toBe(crc32(token.slice(0, 47)).toString(36).padStart(7, '0'));
    expect(statSync(file('first')).mode & 0o777).toBe(0o600);
    expect(existsSync(`${file('first')}.new`)).toBe(false);
    await agent.stop('SIGKILL');
    const again = start({ url }, args, { CULVERT_TOKEN: '' });
    await again.event('connecting');
    expect(asked.filter(({ url }) => url?.startsWith('POST'))).toHaveLength(2);
  });

  it('goes on with the same token after it was cut, and ends with 1 when the server says no for good', async () => {
    const { url, asked } = await registrar([503, 'unavailable'], [403, 'forbidden']);
    const args = ['80', '--token-file', file('second')];
    const cut = start({ url }, args, { CULVERT_TOKEN: '', CULVERT_ENROLL_KEY: 'cve_1.abc' });
    await until('a request', () => asked.length > 0);
    await cut.stop('SIGKILL');
    const refused = start({ url }, args, { CULVERT_TOKEN: '', CULVERT_ENROLL_KEY: 'cve_1.abc' });
    expect(await exited(refused)).toBe(1);
    expect(refused.stderr).toContain('cannot enrol: said 403');
    expect(asked[1]?.headers['device-token']).toBe(asked[0]?.headers['device-token']);
    expect(existsSync(file('second'))).toBe(false);
    rmSync(`${file('second')}.new`);
  });

  it('is ended by a signal, and by settings that cannot be meant', async () => {
    const waiting = start({ url: 'http://127.0.0.1:1' }, ['80', '--token-file', file('third')], {
      ...{ CULVERT_TOKEN: '', CULVERT_ENROLL_KEY: 'cve_1.abc' },
    });
    await until('an attempt', () => waiting.stderr.includes('not enrolled yet'));
    expect(await waiting.stop()).toBe(0);
    const both = start({ url: 'http://127.0.0.1:1' }, ['80', '--enroll', 'two words'], {});
    expect(await exited(both)).toBe(2);
    expect(both.stderr).toContain('the enrolment key is none');
    expect(both.stderr).toContain('CULVERT_TOKEN are both given');
  });
});
