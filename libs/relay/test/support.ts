import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { DEFAULT_LIMITS, type Limits } from '@culvert/contracts';
import {
  encodeClose,
  encodeEnd,
  encodeFrame,
  encodeMessage,
  encodeText,
  FrameParser,
  type Message,
  OPCODE,
  renderUpgrade,
} from '@culvert/wire';
import { connectWebSocket, dialTransfer, Transfer, type TransferOptions, type UpgradedSocket } from '../src/index.ts';

/** Everything that a test opened, closed in reverse. */
export class Cleanup {
  readonly #steps: (() => unknown)[] = [];
  add<T>(thing: T, step: (thing: T) => unknown): T {
    this.#steps.push(() => step(thing));
    return thing;
  }
  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}

export function limits(changes: Partial<Limits> = {}): Limits {
  return { ...DEFAULT_LIMITS, ...changes };
}

export async function listen<T extends net.Server>(server: T, cleanup: Cleanup): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  cleanup.add(server, () => server.close());
  return (server.address() as AddressInfo).port;
}

/** Two ends of one TCP connection: what a visitor holds, and what the listener has accepted (paused). */
export async function tcpPair(cleanup: Cleanup): Promise<{ outside: net.Socket; inside: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  const outside = net.connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  outside.on('error', () => {});
  const inside = await accepted;
  inside.on('error', () => {});
  server.close();
  cleanup.add(outside, () => outside.destroy());
  cleanup.add(inside, () => inside.destroy());
  return { outside, inside };
}

/** Agrees to whatever handshake came; over plain TCP the answer is flushed at once. */
export function acceptUpgrade(req: http.IncomingMessage, socket: Duplex, head: Buffer): UpgradedSocket {
  const raw = socket as net.Socket;
  raw.on('error', () => {});
  raw.write(renderUpgrade(String(req.headers['sec-websocket-key'])));
  return { socket: raw, head };
}

/** An HTTP server that upgrades whatever comes and gives the sockets in order. */
export class UpgradeServer {
  readonly port: number;
  readonly #waiting: UpgradedSocket[] = [];
  readonly #wanted: ((upgraded: UpgradedSocket) => void)[] = [];

  private constructor(port: number) {
    this.port = port;
  }

  static async start(cleanup: Cleanup, server: http.Server = http.createServer()): Promise<UpgradeServer> {
    const port = await listen(server, cleanup);
    const self = new UpgradeServer(port);
    server.on('upgrade', (req, socket, head) => {
      const upgraded = acceptUpgrade(req, socket, head);
      const wanted = self.#wanted.shift();
      if (wanted === undefined) self.#waiting.push(upgraded);
      else wanted(upgraded);
    });
    return self;
  }

  next(): Promise<UpgradedSocket> {
    const upgraded = this.#waiting.shift();
    return upgraded === undefined ? new Promise((resolve) => this.#wanted.push(resolve)) : Promise.resolve(upgraded);
  }
}

export const TARGET = { host: '127.0.0.1', path: '/v1/transfer/tcp-listener-1/id', token: 'token' };

type SideOptions = Partial<TransferOptions>;

/** Without a mask, as over TLS, if `mask` says so. */
async function dialled(target: typeof TARGET & { port: number }, options: SideOptions = {}): Promise<Transfer> {
  if (options.mask !== 'zero') return dialTransfer(target, options);
  const { socket, head } = await connectWebSocket(target);
  return new Transfer(socket, { ...options, role: 'client', head });
}

/** A classic transfer over a real WebSocket handshake. */
export async function transferPair(
  cleanup: Cleanup,
  options: { server?: SideOptions; client?: SideOptions } = {},
): Promise<{ server: Transfer; client: Transfer }> {
  const upgrades = await UpgradeServer.start(cleanup);
  const [client, upgraded] = await Promise.all([dialled({ ...TARGET, port: upgrades.port }, options.client), upgrades.next()]);
  const server = new Transfer(upgraded.socket, { head: upgraded.head, ...options.server, role: 'server' });
  cleanup.add(client, () => client.cut());
  cleanup.add(server, () => server.cut());
  return { server, client };
}

/** Waits for a condition on real sockets; says what it waited for when it does not come. */
/** The real one, also while a test has put another in its place. */
const later = setTimeout;
export const pause = (ms: number): Promise<void> => new Promise((resolve) => later(resolve, ms));

export async function until(what: string, condition: () => boolean, deadlineMs = 5000): Promise<void> {
  const by = performance.now() + deadlineMs;
  while (!condition()) {
    if (performance.now() > by) throw new Error(`waited ${deadlineMs} ms in vain: ${what}`);
    await pause(5);
  }
}

/** To the end of what it reads; what it has still to write is not cut off. */
export async function readAll(socket: net.Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

export function once(socket: net.Socket, event: string): Promise<unknown[]> {
  return new Promise((resolve) => socket.once(event, (...args) => resolve(args)));
}

/** The device's end by hand, to do what our own code never would. Masks with a key that is not zero. */
export class RawDevice {
  readonly socket: net.Socket;
  /** What the server sent: text messages, `close <code> <reason>`, `end`, `pong <payload>`. */
  readonly events: string[] = [];
  data = Buffer.alloc(0);
  readonly #mask = Uint8Array.of(1, 2, 3, 4);

  constructor({ socket, head }: UpgradedSocket) {
    this.socket = socket;
    const parser = new FrameParser(
      { role: 'client' },
      {
        onData: (chunk, from, to) => {
          this.data = Buffer.concat([this.data, chunk.subarray(from, to)]);
        },
        onEnd: () => this.events.push('end'),
        onText: (text) => this.events.push(text),
        onPing: () => this.events.push('ping'),
        onPong: (payload) => this.events.push(`pong ${payload}`),
        onClose: (code, reason) => this.events.push(`close ${code} ${reason}`),
      },
    );
    parser.push(head);
    socket.on('data', (chunk: Buffer) => parser.push(chunk)).on('error', () => {});
    socket.resume();
  }

  /** Together with the server's end of the same connection. */
  static async connect(cleanup: Cleanup): Promise<{ device: RawDevice; upgraded: UpgradedSocket }> {
    const upgrades = await UpgradeServer.start(cleanup);
    const [raw, upgraded] = await Promise.all([connectWebSocket({ ...TARGET, port: upgrades.port }), upgrades.next()]);
    cleanup.add(raw.socket, (socket) => socket.destroy());
    return { device: new RawDevice(raw), upgraded };
  }

  binary(bytes: Buffer | string): this {
    return this.raw(encodeFrame(OPCODE.binary, Buffer.from(bytes), this.#mask));
  }
  end(): this {
    return this.raw(encodeEnd(this.#mask));
  }
  message(message: Message): this {
    return this.raw(encodeText(encodeMessage(message), this.#mask));
  }
  ping(payload: string): this {
    return this.raw(encodeFrame(OPCODE.ping, Buffer.from(payload), this.#mask));
  }
  close(code: number): this {
    return this.raw(encodeClose(code, '', this.#mask));
  }
  raw(bytes: Uint8Array): this {
    this.socket.write(bytes);
    return this;
  }
  saw(start: string): Promise<void> {
    return until(`the server says ${start}; it said ${this.events}`, () => this.events.some((event) => event.startsWith(start)));
  }
}

/** Settles with how a TCP socket ended: `end` for a FIN, else the error's code. */
export function ending(socket: net.Socket): Promise<string> {
  socket.resume();
  return new Promise((resolve) => {
    socket.once('end', () => resolve('end'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
  });
}

/** Writes for ever; the bytes that left the process are `socket.bytesWritten - socket.writableLength`. */
export function flood(socket: net.Socket): void {
  const chunk = Buffer.alloc(1 << 18, 0x61);
  const more = (): void => {
    while (!socket.destroyed && socket.write(chunk));
  };
  socket.on('drain', more);
  more();
}
