/** Transfers over TLS, whose reads are records. */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type http from 'node:http';
import https from 'node:https';
import type net from 'node:net';
import { ERRORS } from '@culvert/contracts';
import { encodeClose, encodeEnd, encodeFrame, FrameParser, OPCODE, renderUpgrade } from '@culvert/wire';
import { afterEach, describe, expect, it } from 'vitest';
import { dialTransfer, Transfer, type UpgradedSocket } from '../src/index.ts';
import { Cleanup, listen, readAll, TARGET, tcpPair, UpgradeServer, until } from './support.ts';

const fixture = (name: string): Buffer => readFileSync(new URL(`./fixtures/${name}`, import.meta.url));
const TLS = { key: fixture('key.pem'), cert: fixture('cert.pem') };
const MAX_FRAME = 1 << 20;
const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A device's end, and the server's socket after the handshake. */
async function dialled(): Promise<{ client: Transfer; upgraded: UpgradedSocket }> {
  const upgrades = await UpgradeServer.start(cleanup, https.createServer(TLS) as unknown as http.Server);
  const tls = { ca: TLS.cert };
  const [client, upgraded] = await Promise.all([
    dialTransfer({ ...TARGET, port: upgrades.port, tls }, { maxFrame: MAX_FRAME }),
    upgrades.next(),
  ]);
  cleanup.add(client, () => client.cut());
  cleanup.add(upgraded.socket, (socket) => socket.destroy());
  return { client, upgraded };
}

const digest = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** Writes all of it in pieces of every size, sometimes with a rest in between. */
async function writeInPieces(socket: net.Socket, bytes: Buffer): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const size = Math.ceil(2 ** (Math.random() * 19));
    const flowing = socket.write(bytes.subarray(at, at + size));
    at += size;
    if (!flowing) await new Promise((resolve) => socket.once('drain', resolve));
    else if (Math.random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
  }
  socket.end();
}

/** Reads all of it, standing still now and then. */
async function readHaltingly(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer);
    if (Math.random() < 0.05) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  return Buffer.concat(chunks);
}

describe('a transfer over TLS', () => {
  it('hands on every byte once and in order, whatever the pieces and whoever stands still', async () => {
    for (let round = 0; round < 4; round += 1) {
      const { client, upgraded } = await dialled();
      const server = new Transfer(upgraded.socket, { role: 'server', head: upgraded.head, maxFrame: MAX_FRAME });
      const visitor = await tcpPair(cleanup);
      const local = await tcpPair(cleanup);
      const results = [server.splice(visitor.inside), client.splice(local.inside)];
      const [up, down] = [randomBytes(4_000_000), randomBytes(4_000_000)];
      const writing = [writeInPieces(visitor.outside, up), writeInPieces(local.outside, down)];
      const [atLocal, atVisitor] = await Promise.all([readHaltingly(local.outside), readHaltingly(visitor.outside)]);
      await Promise.all(writing);
      expect(digest(atLocal)).toBe(digest(up));
      expect(digest(atVisitor)).toBe(digest(down));
      for (const result of await Promise.all(results)) expect(result.outcome).toBe('ok');
    }
  });

  it('reads a visitor who has spoken already, although the answer to the handshake has not left yet', async () => {
    for (let round = 0; round < 3; round += 1) {
      const near = https.createServer(TLS);
      const port = await listen(near, cleanup);
      const asked = new Promise<[http.IncomingMessage, net.Socket, Buffer]>((resolve) => {
        near.once('upgrade', (request, socket, head) => resolve([request, socket as net.Socket, head]));
      });
      const visitor = await tcpPair(cleanup);
      visitor.outside.end('what it has to say');
      const dialling = dialTransfer({ ...TARGET, port, tls: { ca: TLS.cert } }, { maxFrame: MAX_FRAME });
      const [request, socket, head] = await asked;
      const answer = renderUpgrade(String(request.headers['sec-websocket-key']));
      const server = new Transfer(socket, { role: 'server', head, answer, maxFrame: MAX_FRAME });
      expect(socket.writableLength).toBeGreaterThan(0);
      const result = server.splice(visitor.inside);
      const client = await dialling;
      cleanup.add(client, () => client.cut());
      const local = await tcpPair(cleanup);
      void client.splice(local.inside);
      expect((await readAll(local.outside)).toString()).toBe('what it has to say');
      local.outside.end();
      expect((await result).outcome).toBe('ok');
    }
  });

  it('hands on what is read at once with its end, its close frame and the end of the connection', async () => {
    const { client, upgraded } = await dialled();
    upgraded.socket.write(encodeFrame(OPCODE.binary, Buffer.from('first'))); // held, so that all else waits in the kernel
    await new Promise((resolve) => setTimeout(resolve, 50));
    const bytes = randomBytes(20_000);
    upgraded.socket.write(encodeFrame(OPCODE.binary, bytes));
    upgraded.socket.write(encodeEnd());
    upgraded.socket.end(encodeClose(ERRORS.linger_expired.close, 'linger_expired'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    const local = await tcpPair(cleanup);
    const result = client.splice(local.inside);
    local.outside.on('error', () => {});
    expect(await result).toEqual({ outcome: 'linger_expired', toDevice: 5 + bytes.length, toVisitor: 0 });
  });

  it('takes a visitor late: what came before waits for it', async () => {
    const { client, upgraded } = await dialled();
    const bytes = randomBytes(300_000);
    upgraded.socket.write(encodeFrame(OPCODE.binary, bytes));
    upgraded.socket.write(encodeEnd());
    await new Promise((resolve) => setTimeout(resolve, 50));
    const local = await tcpPair(cleanup);
    const result = client.splice(local.inside);
    expect(digest(await readAll(local.outside))).toBe(digest(bytes));
    local.outside.end();
    await until('the device says END', () => upgraded.socket.readableLength > 0);
    upgraded.socket.end(encodeClose(1000, 'bye'));
    expect((await result).outcome).toBe('ok');
  });

  it('ends its visitor with a reset when the connection breaks in the middle of a record', async () => {
    const { client, upgraded } = await dialled();
    const local = await tcpPair(cleanup);
    const result = client.splice(local.inside);
    const broken = new Promise((resolve) => local.outside.once('error', resolve).resume());
    upgraded.socket.write(encodeFrame(OPCODE.binary, randomBytes(200_000)));
    await until('bytes reach the target', () => local.outside.bytesRead > 0);
    const raw = (upgraded.socket as unknown as { _parent: net.Socket })._parent;
    raw.write(Buffer.from('1703034000', 'hex')); // the head of a record that never comes
    raw.resetAndDestroy();
    expect((await result).outcome).toBe('peer_reset');
    expect(await broken).toMatchObject({ code: 'ECONNRESET' });
  });

  it('sends frames as large as its reads may be, although no write over TLS is flushed at once', async () => {
    const { client, upgraded } = await dialled();
    let arrived = 0;
    const ignore = (): void => {};
    const parser = new FrameParser(
      { role: 'server' },
      { onData: ignore, onEnd: ignore, onText: ignore, onPing: ignore, onPong: ignore, onClose: ignore },
    );
    upgraded.socket.on('data', (chunk: Buffer) => {
      arrived += chunk.length;
      parser.push(chunk);
    });
    const local = await tcpPair(cleanup);
    void client.splice(local.inside);
    const bytes = Buffer.alloc(24 << 20);
    local.outside.write(bytes);
    await until('everything arrives', () => arrived >= bytes.length, 20_000);
    expect(bytes.length / parser.frames).toBeGreaterThan(64 << 10);
  });
});
