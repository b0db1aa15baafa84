import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { installSystemPackages } from '../../../deploy/local/bin/system.mjs';
import { echo, serve, target, until } from '../../sdk/test/kit.ts';
import type { TestServer } from '../../sdk/test/server.ts';
import { growWithVisitors } from '../../sdk/test/warm.ts';
import { NativeAgent } from './agent-kit.ts';
import { BUILD_MS, builtAgent, NATIVE, scratchFolder } from './build.ts';

await installSystemPackages(['native']);
const { dir, remove } = scratchFolder();
afterAll(remove);

const FIXTURES = join(NATIVE, '../../libs/relay/test/fixtures');
let program: string;

beforeAll(async () => {
  program = await builtAgent();
}, BUILD_MS);

const start = (server: TestServer, args: string[], env: Record<string, string> = {}): NativeAgent =>
  new NativeAgent(program, ['--server', server.url, '--name', 'alice', '--json', ...args], env);

describe('culvert-agent', () => {
  it('offers its ports, serves a visitor, and stops by SIGTERM with a bye and 0', async () => {
    const server = await serve();
    const port = await target(echo);
    const agent = start(server, ['80', `tcp:7=127.0.0.1:${port}`]);
    expect(await agent.event('ready')).toMatchObject({
      name: 'alice',
      epoch: 101,
      resumed: false,
      endpoints: [
        { port: 80, scheme: 'http', url: 'http://x80.culvert.localhost' },
        { port: 7, scheme: 'tcp', host: 'culvert.localhost', public_port: 20_007 },
      ],
    });
    const control = await server.control(0);
    expect(Object.fromEntries(control.handshake.query)).toMatchObject({
      name: 'alice',
      ports: `http:80,tcp:7`,
      transfers: '256',
      warm: '16',
    });
    const peer = await server.transfer(control, 7);
    peer.send('hello');
    peer.end();
    await until('the echo', () => peer.ended);
    expect(peer.received.toString()).toBe('hello');
    expect(await agent.event('transfer')).toMatchObject({ port: 7, outcome: 'ok', to_device: 5, to_visitor: 5 });
    expect(await agent.stop()).toBe(0);
    expect(agent.lines.at(-1)?.event).toBe('stopped');
    expect(control.messages).toEqual([{ type: 'bye', code: 'bye', message: 'the agent stops' }]);
    expect(await until('the close', () => control.closed)).toEqual({ code: 1000, reason: 'bye' });
  });

  it('passes bytes of a target that speaks first, and each direction ends by itself', async () => {
    const server = await serve();
    const got: string[] = [];
    const port = await target((socket) => {
      socket.write('SSH-2.0-x\r\n');
      socket.on('data', (chunk) => got.push(chunk.toString()));
      socket.on('end', () => socket.end('late'));
    });
    const agent = start(server, [`tcp:22=127.0.0.1:${port}`]);
    await agent.event('ready');
    const peer = await server.transfer(await server.control(0), 22);
    await until('the greeting', () => peer.received.toString() === 'SSH-2.0-x\r\n');
    peer.send('early');
    peer.end();
    await until('the end', () => peer.ended);
    expect(got.join('')).toBe('early');
    expect(peer.received.toString()).toBe('SSH-2.0-x\r\nlate');
    expect((await until('the close', () => peer.closed)).code).toBe(1000);
  });

  it('carries 64 transfers at once without mixing a byte', async () => {
    const server = await serve();
    const port = await target(echo);
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`, '--warm', '0']);
    await agent.event('ready');
    const control = await server.control(0);
    const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
    await Promise.all(
      Array.from({ length: 64 }, async () => {
        const bytes = randomBytes(50_000);
        const peer = await server.transfer(control, 7);
        for (let at = 0; at < bytes.length; at += 9_999) peer.send(bytes.subarray(at, at + 9_999));
        peer.end();
        await until('the end', () => peer.ended);
        expect(digest(peer.received)).toBe(digest(bytes));
      }),
    );
  });

  it('says why a visitor cannot be served', async () => {
    const server = await serve();
    const held = await target(() => {});
    const gone = net.createServer().listen(0, '127.0.0.1');
    await new Promise((done) => gone.once('listening', done));
    const refused = (gone.address() as AddressInfo).port;
    await new Promise((done) => gone.close(done));
    const agent = start(server, [`tcp:1=127.0.0.1:${refused}`, `tcp:2=127.0.0.1:${held}`, '--max-transfers=1']);
    await agent.event('ready');
    const control = await server.control(0);
    expect(await server.dial(control, 1)).toBe('local_refused');
    expect(await server.dial(control, 99)).toBe('not_allowed');
    await server.transfer(control, 2);
    expect(await server.dial(control, 2)).toBe('busy');
  });

  it('resets the visitor when the target resets, and the target when the visitor is cut', async () => {
    const server = await serve();
    const sockets: Socket[] = [];
    const port = await target((socket) => {
      sockets.push(socket);
      socket.resume();
    });
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`]);
    await agent.event('ready');
    const control = await server.control(0);
    const first = await server.transfer(control, 7);
    (await until('the socket', () => sockets[0])).resetAndDestroy();
    expect(await until('the close', () => first.closed)).toEqual({ code: 4430, reason: 'peer_reset' });
    const second = await server.transfer(control, 7);
    const socket = await until('the second socket', () => sockets[1]);
    const error = new Promise<NodeJS.ErrnoException>((resolve) => socket.once('error', resolve));
    second.socket.close(4430, 'peer_reset');
    expect((await error).code).toBe('ECONNRESET');
    expect(await agent.event('transfer', 1)).toMatchObject({ outcome: 'visitor_reset' });
  });

  it('resets the target when it is killed in the middle, unless that had its end', async () => {
    const server = await serve();
    const sockets: Socket[] = [];
    const port = await target((socket) => sockets.push(socket.resume()));
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`]);
    await agent.event('ready');
    const control = await server.control(0);
    const [cut, ended] = [await server.transfer(control, 7), await server.transfer(control, 7)];
    const [first, second] = await until('the sockets', () => (sockets.length === 2 ? sockets : undefined));
    const error = new Promise<NodeJS.ErrnoException>((resolve) => first?.once('error', resolve));
    const ends: string[] = [];
    second?.on('end', () => ends.push('end')).on('error', () => ends.push('error'));
    cut.send('some of it');
    ended.send('all of it');
    ended.end();
    await until('the end', () => ends.length > 0);
    await agent.stop('SIGKILL');
    expect((await error).code).toBe('ECONNRESET');
    expect(ends).toEqual(['end']);
  });

  it('makes a slow target slow its own visitor only', async () => {
    const server = await serve();
    const frozen: Socket[] = [];
    const slow = await target((socket) => {
      socket.pause();
      frozen.push(socket);
    });
    const quick = await target(echo);
    const agent = start(server, [`tcp:1=127.0.0.1:${slow}`, `tcp:2=127.0.0.1:${quick}`]);
    await agent.event('ready');
    const control = await server.control(0);
    const stuck = await server.transfer(control, 1);
    const bulk = randomBytes(16 * 1024 * 1024);
    for (let at = 0; at < bulk.length; at += 65_536) stuck.send(bulk.subarray(at, at + 65_536));
    const peer = await server.transfer(control, 2);
    peer.send('ping');
    await until('the echo beside it', () => peer.received.toString() === 'ping');
    expect(rss(agent)).toBeLessThan(8_000);
    let taken = 0;
    frozen[0]?.on('data', (chunk) => {
      taken += chunk.length;
    });
    frozen[0]?.resume();
    await until('all bytes', () => taken === bulk.length);
  });

  it('moves to a new control connection before it leaves the old one, by wind_down and by SIGHUP', async () => {
    const server = await serve();
    const port = await target(echo);
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`]);
    await agent.event('ready');
    const old = await server.control(0);
    const peer = await server.transfer(old, 7);
    old.send({ type: 'wind_down', reconnect_ms: 50 });
    const next = await server.control(1);
    expect(next.handshake.query.get('boot')).toBe(old.handshake.query.get('boot'));
    expect((await until('the end of the old one', () => old.closed)).code).toBe(1000);
    expect(next.closed).toBeUndefined();
    agent.child.kill('SIGHUP');
    await server.control(2);
    peer.send('still');
    await until('the echo', () => peer.received.toString() === 'still');
    expect(agent.lines.filter(({ event }) => event === 'disconnected')).toEqual([]);
  });

  it('obeys Retry-After, tries servers in turn, and waits long when it is not known', async () => {
    const refusing = await serve();
    const good = await serve();
    refusing.refusals.push({ status: 503, code: 'recovering', retryAfter: 1 });
    const agent = start(refusing, ['--server', good.url, '80']);
    expect(await agent.event('refused')).toMatchObject({ code: 'recovering', status: 503, message: 'refused as recovering' });
    expect(Number((await agent.event('refused')).retry_in_ms)).toBeGreaterThanOrEqual(1000);
    await agent.event('ready');
    expect(good.controls).toHaveLength(1);
    const stranger = start(await serve({ token: 'another' }), ['80']);
    const refusal = await stranger.event('refused');
    expect(refusal).toMatchObject({ code: 'unauthorized', status: 401 });
    expect(Number(refusal.retry_in_ms)).toBeGreaterThanOrEqual(45_000);
    expect(await stranger.stop('SIGINT')).toBe(0);
  });

  it('notices a server that is silent for 2.5 heartbeats', async () => {
    const server = await serve({ heartbeatMs: 400 });
    const agent = start(server, ['80']);
    await agent.event('ready');
    server.freeze();
    expect(await agent.event('disconnected')).toMatchObject({ code: 'heartbeat_lost' });
  });

  it('asks for warm transfers after a visit, once while none is granted', async () => {
    const server = await serve();
    const port = await target(echo);
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`, '--warm', '2']);
    await agent.event('ready');
    const control = await server.control(0);
    const path = (): number =>
      server.handshakes.filter(({ path, query }) => path === '/v1/transfer/tcp-listener-1' && query.get('warm') === '1').length;
    const peer = await server.transfer(control, 7);
    peer.end();
    await until('the first request for a warm one', () => path() === 1); // this server grants none, so only one is asked for
    expect(await agent.stop()).toBe(0);
  });

  it('keeps as many warm transfers as visitors need', async () => {
    const server = await serve();
    const agent = start(server, [`tcp:7=127.0.0.1:${await target(echo)}`]);
    await agent.event('ready');
    await growWithVisitors(server, await server.control(0));
    expect(await agent.stop()).toBe(0);
  });

  it('speaks TLS with verified certificates only', async () => {
    const key = readFileSync(join(FIXTURES, 'key.pem'), 'utf8');
    const cert = readFileSync(join(FIXTURES, 'cert.pem'), 'utf8');
    const server = await serve({ tls: { key, cert } });
    const port = await target(echo);
    const agent = start(server, [`tcp:7=127.0.0.1:${port}`, '--ca-file', join(FIXTURES, 'cert.pem')]);
    await agent.event('ready');
    const bytes = randomBytes(500_000);
    const peer = await server.transfer(await server.control(0), 7);
    peer.send(bytes);
    peer.end();
    await until('the end', () => peer.ended);
    expect(peer.received.equals(bytes)).toBe(true);
    const doubting = start(server, ['80']);
    expect(await doubting.event('disconnected')).toMatchObject({ message: expect.stringContaining('cannot be trusted') });
    const pinned = start(server, ['80', '--ca-file', join(FIXTURES, 'cert.pem'), '--pin', `${'A'.repeat(43)}=`]);
    expect(await pinned.event('disconnected')).toMatchObject({ message: expect.stringContaining('another public key') });
    const spki = createHash('sha256')
      .update(new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64');
    const pins = ['--pin', `sha256/${'A'.repeat(43)}=`, '--pin', `sha256/${spki}`];
    await start(server, ['80', '--ca-file', join(FIXTURES, 'cert.pem'), ...pins]).event('ready');
  });

  it('goes through an HTTP proxy with credentials', async () => {
    const server = await serve();
    const asked: string[] = [];
    const proxy = createServer().listen(0, '127.0.0.1');
    proxy.on('connect', (request, socket, head) => {
      asked.push(`${request.url} ${request.headers['proxy-authorization']}`);
      const [host = '', port = ''] = (request.url ?? '').split(':');
      const onward = net.connect(Number(port), host, () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        onward.write(head);
        onward.pipe(socket).pipe(onward);
      });
      onward.on('error', () => {});
      socket.on('error', () => {});
    });
    onTestFinished(() => {
      proxy.closeAllConnections();
      proxy.close();
    });
    await until('the proxy', () => proxy.address());
    const url = `http://me:pass%20word@127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    const agent = start(server, ['80'], { HTTP_PROXY: url });
    await agent.event('ready');
    expect(asked).toEqual([`${server.url.slice(7)} Basic ${Buffer.from('me:pass word').toString('base64')}`]);
    const direct = start(server, ['80'], { HTTP_PROXY: url, NO_PROXY: '127.0.0.0/8' });
    await direct.event('ready');
    expect(asked).toHaveLength(1);
    await agent.stop();
  });

  it('connects over IPv6, and looks names up', async () => {
    const server = await serve({ host: '::1' });
    const six = await target(echo, '::1');
    const four = await target(echo);
    const agent = start(server, [`tcp:7=[::1]:${six}`, `tcp:8=localhost:${four}`, 'tcp:9=nowhere.invalid:1']);
    await agent.event('ready');
    const control = await server.control(0);
    for (const declared of [7, 8]) {
      const peer = await server.transfer(control, declared);
      peer.send('hello');
      await until('the echo', () => peer.received.toString() === 'hello');
    }
    expect(await server.dial(control, 9)).toBe('local_refused');
  });

  it.runIf(process.getuid?.() === 0)('tries the addresses of a name in turn', async () => {
    const server = await serve();
    const port = await target(echo);
    const hosts = join(dir, 'hosts');
    writeFileSync(hosts, '127.0.0.1 localhost\n::1 many\n127.0.0.2 many\n127.0.0.1 many\n');
    const command = `mount --bind ${hosts} /etc/hosts && exec "$@"`;
    const args = ['--server', server.url.replace('127.0.0.1', 'many'), '--name', 'alice', '--json', `tcp:7=many:${port}`];
    const agent = new NativeAgent('unshare', ['-m', 'sh', '-c', command, 'sh', program, ...args]);
    await agent.event('ready');
    const peer = await server.transfer(await server.control(0), 7);
    peer.send('hello');
    await until('the echo', () => peer.received.toString() === 'hello');
  });

  it('takes its settings from a file, and reports all faults at once with 2', async () => {
    const server = await serve();
    const config = join(dir, 'agent.conf');
    const tokenFile = join(dir, 'token');
    writeFileSync(tokenFile, 'device-token\n');
    writeFileSync(
      config,
      `# comment\nserver = ${server.url}\nname = bob\ntoken-file = ${tokenFile}\nmap = 80\nmap = tcp:7=127.0.0.1:9\n`,
    );
    const agent = new NativeAgent(program, ['--config', config, '--json'], { CULVERT_TOKEN: '' });
    expect(await agent.event('ready')).toMatchObject({ name: 'bob' });
    const bad = new NativeAgent(program, [
      '--server',
      'ftp://x',
      '--name',
      'Alice',
      '--max-transfers',
      'many',
      '--verbose',
      '80',
      '99999',
      'tcp:80',
    ]);
    expect(await new Promise((resolve) => bad.child.once('close', resolve))).toBe(2);
    for (const part of ['ftp://x', 'Alice', 'max-transfers', '--verbose', '99999', 'port 80 twice'])
      expect(bad.stderr).toContain(part);
  });

  it('idles in at most a mebibyte beside the C library and TLS', async () => {
    const server = await serve();
    const agent = start(server, ['80']);
    await agent.event('ready');
    expect(ownMemory(agent)).toBeLessThan(1024);
  });
});

/** Resident memory in KiB. */
function rss(agent: NativeAgent): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.pid}/status`, 'utf8'))?.[1]);
}

/** Resident memory that is the process's own, in KiB: not the pages of programs and libraries that others share. */
function ownMemory(agent: NativeAgent): number {
  return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${agent.pid}/status`, 'utf8'))?.[1]);
}
