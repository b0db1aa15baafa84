import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { CulvertError } from '@culvert/contracts';
import { renderUpgrade } from '@culvert/wire';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  adopt,
  connectLocal,
  connectWebSocket,
  dialTransfer,
  refuseUpgrade,
  Transfer,
  type WebSocketTarget,
} from '../src/index.ts';
import { acceptUpgrade, Cleanup, listen, once, readAll, TARGET, tcpPair, UpgradeServer } from './support.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const fixture = (name: string): Buffer => readFileSync(new URL(`fixtures/${name}`, import.meta.url));
const TLS = { key: fixture('key.pem'), cert: fixture('cert.pem') };

async function failure(target: Partial<WebSocketTarget> & { port: number }): Promise<CulvertError> {
  try {
    const { socket } = await connectWebSocket({ ...TARGET, ...target });
    socket.destroy();
  } catch (error) {
    if (error instanceof CulvertError) return error;
    throw error;
  }
  throw new Error('it connected');
}

describe('a client handshake', () => {
  it('that is refused rejects with the code, the message and Retry-After of the server', async () => {
    const server = http.createServer();
    server.on('upgrade', (_req, socket) => refuseUpgrade(socket, { code: 'recovering', message: 'wait', retryAfterMs: 3000 }));
    const error = await failure({ port: await listen(server, cleanup) });
    expect(error).toMatchObject({ code: 'recovering', message: 'wait', retryAfterMs: 3000 });
  });

  it('with nobody there, cut short, or answered by nonsense says so', async () => {
    const gone = net.createServer((socket) => socket.destroy());
    const ssh = net.createServer((socket) => socket.on('error', () => {}).end('SSH-2.0-x\r\n\r\n'));
    const closed = net.createServer();
    const closedPort = await listen(closed, cleanup);
    closed.close();
    expect(await failure({ port: closedPort })).toMatchObject({ code: 'unavailable' });
    expect(await failure({ port: await listen(gone, cleanup) })).toMatchObject({ code: 'unavailable' });
    expect(await failure({ port: await listen(ssh, cleanup) })).toMatchObject({ code: 'protocol_error' });
  });

  it('that takes too long is given up', async () => {
    const silent = net.createServer((socket) => cleanup.add(socket, () => socket.destroy()));
    const error = await failure({ port: await listen(silent, cleanup), deadlineMs: 60 });
    expect(error).toMatchObject({ code: 'unavailable' });
    expect(error.message).toMatch(/did not answer within 60 ms/);
  });

  it('gives the connection less time than the answer', async () => {
    const silent = net.createServer((socket) => cleanup.add(socket, () => socket.destroy()));
    const port = await listen(silent, cleanup);
    const error = await failure({ port, tls: {}, connectMs: 60 });
    expect(error.message).toMatch(/could not be connected to within 60 ms/);
    const slow = http.createServer();
    slow.on(
      'upgrade',
      (_req, socket) => void setTimeout(() => refuseUpgrade(socket, { code: 'not_found', message: 'no such transfer' }), 200),
    );
    expect((await failure({ port: await listen(slow, cleanup), connectMs: 60 })).code).toBe('not_found');
  });

  it('reads what has come in time, however long this process then stood still', async () => {
    const standStill = (): void => {
      for (const until = performance.now() + 150; performance.now() < until; );
    };
    const server = http.createServer();
    server.on('upgrade', (_req, socket) => {
      refuseUpgrade(socket, { code: 'not_found', message: 'no such transfer' });
      standStill();
    });
    const port = await listen(server, cleanup);
    expect((await failure({ port, deadlineMs: 100 })).code).toBe('not_found');
    const connecting = failure({ port, connectMs: 50 });
    standStill();
    expect((await connecting).code).toBe('not_found');
  });

  it('stops at once when the signal says so', async () => {
    const silent = net.createServer((socket) => cleanup.add(socket, () => socket.destroy()));
    const port = await listen(silent, cleanup);
    const stop = new AbortController();
    const failed = failure({ port, signal: stop.signal });
    setImmediate(() => stop.abort());
    expect((await failed).code).toBe('bye');
    expect((await failure({ port, signal: AbortSignal.abort() })).code).toBe('bye');
  });

  it('gives the bytes behind the head to the WebSocket', async () => {
    const server = http.createServer();
    server.on('upgrade', (req, socket) => {
      const head = renderUpgrade(String(req.headers['sec-websocket-key']));
      socket.end(Buffer.concat([Buffer.from(head), Buffer.from('82036162638200', 'hex')]));
    });
    const transfer = await dialTransfer({ ...TARGET, port: await listen(server, cleanup) });
    const local = await tcpPair(cleanup);
    transfer.splice(local.inside);
    expect((await readAll(local.outside)).toString()).toBe('abc');
  });

  it('goes through the connection it is given', async () => {
    const upgrades = await UpgradeServer.start(cleanup);
    const connect = async (): Promise<net.Socket> => {
      const socket = net.connect(upgrades.port, '127.0.0.1');
      await once(socket, 'connect');
      return socket;
    };
    const { socket } = await connectWebSocket({ ...TARGET, host: 'nowhere.invalid', port: 1, connect });
    cleanup.add(socket, () => socket.destroy());
    (await upgrades.next()).socket.destroy();
  });
});

describe('over TLS', () => {
  async function secureServer(): Promise<UpgradeServer> {
    return UpgradeServer.start(cleanup, https.createServer(TLS) as unknown as http.Server);
  }

  it('a certificate that is not trusted is refused', async () => {
    const upgrades = await secureServer();
    expect(await failure({ port: upgrades.port, tls: {} })).toMatchObject({ code: 'unavailable' });
  });

  it('a transfer is binary clean both ways, and ends in order', async () => {
    const upgrades = await secureServer();
    const [client, upgraded] = await Promise.all([
      dialTransfer({ ...TARGET, port: upgrades.port, tls: { ca: TLS.cert } }, { maxFrame: 1 << 20 }),
      upgrades.next(),
    ]);
    const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head, maxFrame: 5000 });
    const visitor = await tcpPair(cleanup);
    const local = await tcpPair(cleanup);
    const [atServer, atClient] = [server.splice(visitor.inside), client.splice(local.inside)];
    const up = Buffer.alloc(3_000_000, 'up and ');
    const down = Buffer.alloc(5_000_000, 'down ');
    visitor.outside.end(up);
    local.outside.end(down);
    const [atLocal, atVisitor] = await Promise.all([readAll(local.outside), readAll(visitor.outside)]);
    expect(atLocal.equals(up)).toBe(true);
    expect(atVisitor.equals(down)).toBe(true);
    const totals = { outcome: 'ok', toDevice: up.length, toVisitor: down.length };
    expect(await atServer).toEqual(totals);
    expect(await atClient).toEqual(totals);
  });

  it('a slow reader holds up no more than one read, and a reset passes through', async () => {
    const upgrades = await secureServer();
    const [client, upgraded] = await Promise.all([
      dialTransfer({ ...TARGET, port: upgrades.port, tls: { ca: TLS.cert } }),
      upgrades.next(),
    ]);
    const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head });
    const visitor = await tcpPair(cleanup);
    const local = await tcpPair(cleanup);
    const [atServer, atClient] = [server.splice(visitor.inside), client.splice(local.inside)];
    visitor.outside.pause();
    const chunk = Buffer.alloc(1 << 20);
    local.outside.on('drain', () => {
      while (!local.outside.destroyed && local.outside.write(chunk));
    });
    local.outside.write(chunk);
    let [before, still] = [-1, 0];
    while (still < 20) {
      const moved = local.outside.bytesWritten - local.outside.writableLength;
      still = moved === before ? still + 1 : 0;
      before = moved;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    expect(server.unflushed).toBeLessThanOrEqual(2 * 256 * 1024);
    expect(client.unflushed).toBeLessThanOrEqual(2 * 256 * 1024);
    visitor.outside.resetAndDestroy();
    expect((await atServer).outcome).toBe('visitor_reset');
    expect((await atClient).outcome).toBe('visitor_reset');
  });
});

describe('an upgraded socket', () => {
  it('that is accepted late, after bytes and even the end have come, loses nothing', async () => {
    const server = http.createServer();
    const { promise, resolve } = Promise.withResolvers<() => Transfer>();
    server.on('upgrade', (req, socket, head) => {
      socket.on('error', () => {});
      resolve(() => {
        const upgraded = acceptUpgrade(req, socket, head);
        return new Transfer(upgraded.socket, { role: 'server', head: upgraded.head });
      });
    });
    const raw = net.connect(await listen(server, cleanup), '127.0.0.1');
    cleanup.add(raw, () => raw.destroy());
    raw.write(
      'GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    raw.write(Buffer.from('828100000000' + '61', 'hex'));
    const accept = await promise;
    raw.write(Buffer.from('828100000000' + '62', 'hex'));
    for (let i = 0; i < 5; i++) await new Promise((next) => setTimeout(next, 5));
    const transfer = accept();
    raw.write(Buffer.from('828100000000' + '63828000000000', 'hex'));
    const visitor = await tcpPair(cleanup);
    const result = transfer.splice(visitor.inside);
    visitor.outside.end();
    expect((await readAll(visitor.outside)).toString()).toBe('abc');
    expect(await result).toEqual({ outcome: 'ok', toDevice: 0, toVisitor: 3 });
  });

  it('that is gone already is refused by the constructor', async () => {
    const upgrades = await UpgradeServer.start(cleanup);
    const [raw, upgraded] = await Promise.all([connectWebSocket({ ...TARGET, port: upgrades.port }), upgrades.next()]);
    cleanup.add(raw.socket, (socket) => socket.destroy());
    upgraded.socket.destroy();
    expect(() => new Transfer(upgraded.socket, { role: 'server' })).toThrow(CulvertError);
  });
});

describe('a connection to a local target', () => {
  it('works over IPv4, IPv6 and names, and comes paused', async () => {
    for (const [bind, host] of [
      ['127.0.0.1', '127.0.0.1'],
      ['127.0.0.1', 'localhost'],
      ['::1', '::1'],
    ] as const) {
      const server = net.createServer((socket) => socket.on('error', () => {}).write('220 hello'));
      await new Promise<void>((resolve) => server.listen(0, bind, () => resolve()));
      const { port } = server.address() as net.AddressInfo;
      const socket = await connectLocal({ host, port });
      expect(socket.isPaused()).toBe(true);
      const slab = Buffer.alloc(64);
      const text = Promise.withResolvers<string>();
      const callback = (count: number): boolean => {
        text.resolve(String(slab.subarray(0, count)));
        return true;
      };
      expect(adopt(socket, { buffer: () => slab, callback })?.socket).toBe(socket);
      socket.resume();
      expect(await text.promise).toBe('220 hello');
      socket.destroy();
      server.close();
    }
  });

  it('that is refused, unknown or aborted says which', async () => {
    const server = net.createServer();
    const port = await listen(server, cleanup);
    server.close();
    await expect(connectLocal({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'local_refused' });
    await expect(connectLocal({ host: 'nowhere.invalid', port })).rejects.toMatchObject({ code: 'local_refused' });
    const connect = vi.spyOn(net, 'connect');
    await expect(connectLocal({ host: '127.0.0.1', port, signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'bye' });
    expect(connect).not.toHaveBeenCalled(); // for a caller who has stopped already, no connection is begun
    connect.mockRestore();
  });
});
