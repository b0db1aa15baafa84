import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import net from 'node:net';
import { pipeline } from 'node:stream/promises';
import { WebSocketServer } from 'ws';

/** A local target: what stands behind an agent in a test. */
export interface Target {
  port: number;
  /** Connections open right now. */
  open(): number;
  close(): Promise<void>;
}

async function started(server: net.Server | Server, host: string): Promise<Target> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => {}).on('close', () => sockets.delete(socket));
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: 0, host, backlog: 4096 }, resolve);
  });
  return {
    port: (server.address() as net.AddressInfo).port,
    open: () => sockets.size,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

/** Bytes that repeat after 65,521 (a prime), so that a lost, doubled or swapped block changes every checksum. */
export function patternBlock(offset: number, length: number): Buffer {
  const block = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at += 1) block[at] = ((offset + at) % 65_521) & 0xff;
  return block;
}

/** Hex SHA-256 of the first `bytes` of the pattern. */
export function patternDigest(bytes: number): string {
  const hash = createHash('sha256');
  const period = patternBlock(0, 65_521);
  let left = bytes;
  for (; left >= period.length; left -= period.length) hash.update(period);
  return hash.update(period.subarray(0, left)).digest('hex');
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://target');
  const [, verb, argument] = url.pathname.split('/');
  if (verb === 'bytes') {
    const total = Number(argument);
    const range = /^bytes=([0-9]+)-([0-9]*)$/.exec(request.headers.range ?? '');
    const from = range === null ? 0 : Number(range[1]);
    const to = range?.[2] ? Number(range[2]) + 1 : total;
    const headers: Record<string, string> = { 'content-type': 'application/octet-stream', 'accept-ranges': 'bytes' };
    if (!url.searchParams.has('chunked')) headers['content-length'] = String(to - from);
    if (range !== null) headers['content-range'] = `bytes ${from}-${to - 1}/${total}`;
    response.writeHead(range === null ? 200 : 206, headers);
    await pipeline(async function* () {
      for (let at = from; at < to; at += 65_521) yield patternBlock(at, Math.min(65_521, to - at));
    }, response);
    return;
  }
  if (verb === 'upload') {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const chunk of request) {
      hash.update(chunk as Buffer);
      bytes += (chunk as Buffer).length;
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ bytes, sha256: hash.digest('hex'), encoding: request.headers['transfer-encoding'] ?? null }));
    return;
  }
  if (verb === 'headers') {
    response.setHeader('content-type', 'application/json');
    response.setHeader('culvert-outcome', 'forged');
    response.end(JSON.stringify(request.headers));
    return;
  }
  if (verb === 'status') {
    response.statusCode = Number(argument);
    response.end(`the device's own ${argument}`);
    return;
  }
  if (verb === 'sse') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    let count = 0;
    const timer = setInterval(() => response.write(`data: ${++count}\n\n`), 50);
    response.on('close', () => clearInterval(timer));
    return;
  }
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.end(`<!doctype html><title>target</title><h1>hello from ${request.headers.host}</h1>`);
}

/**
 * An HTTP server: `/bytes/N` (`?chunked`, ranges), `/upload`, `/headers`, `/status/N`, `/sse`, a WebSocket echo on any
 * path, and a page everywhere else.
 */
export function startWebTarget(host = '127.0.0.1'): Promise<Target> {
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
    socket.on('error', () => {});
  });
  return started(server, host);
}

/** A TCP server whose every connection is handled by `serve`; half-open connections are allowed. */
export function startTcpTarget(serve: (socket: net.Socket) => void, host = '127.0.0.1'): Promise<Target> {
  return started(net.createServer({ allowHalfOpen: true, noDelay: true }, serve), host);
}

/** Sends back what it gets and ends when the peer has ended. */
export const echo = (socket: net.Socket): void => void socket.pipe(socket);

/** Reads to the end, then answers with the count and the digest: needs a half-close that is kept. */
export const digestAfterEnd = (socket: net.Socket): void => {
  const hash = createHash('sha256');
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    bytes += chunk.length;
  });
  socket.on('end', () => socket.end(`${bytes} ${hash.digest('hex')}\n`));
};

/** Speaks first, as SSH, SMTP and MySQL do. */
export const greetFirst = (socket: net.Socket): void => {
  socket.write('220 welcome\r\n');
  socket.pipe(socket);
};

/**
 * A port whose connection attempts are never answered: nobody accepts, and the queue of the kernel is full, so that it drops
 * every further SYN.
 */
export async function startSilentTarget(): Promise<Pick<Target, 'port' | 'close'>> {
  const script =
    'import socket,time; s=socket.socket(); s.bind(("127.0.0.1",0)); s.listen(0); print(s.getsockname()[1],flush=True); time.sleep(3600)';
  const child = spawn('python3', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.stdout.once('data', (text: Buffer) => resolve(Number(text)));
  });
  const fillers = Array.from({ length: 4 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
  await new Promise((done) => fillers[0]?.once('connect', done));
  return {
    port,
    close: async () => {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
    },
  };
}
