import { randomBytes } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { type PortSpec, parsePortList, type RefusedCode } from '@culvert/contracts';
import { type WebSocket, WebSocketServer } from 'ws';

/** The server's side of the protocol on the `ws` library, so that the agent meets somebody else's WebSocket. */
export interface TestServerOptions {
  host?: string;
  tls?: { key: string; cert: string };
  heartbeatMs?: number;
  token?: string;
  /** Told in `ready`: where transfers may be dialled directly. */
  direct?: { url: string; key: string };
}

export interface Handshake {
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
}

/** The server's end of one transfer connection. */
export class Peer {
  readonly socket: WebSocket;
  /** The agent's. */
  readonly remotePort: number | undefined;
  received = Buffer.alloc(0);
  ended = false;
  closed: { code: number; reason: string } | undefined;
  #sentEnd = false;

  constructor(socket: WebSocket, remotePort: number | undefined) {
    this.socket = socket;
    this.remotePort = remotePort;
    socket.on('message', (data: Buffer, isBinary) => {
      if (!isBinary) return;
      if (data.length === 0) {
        this.ended = true;
        this.#closeAfterBoth();
      } else this.received = Buffer.concat([this.received, data]);
    });
    socket.on('error', () => {});
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
    });
  }

  send(bytes: string | Buffer): void {
    this.socket.send(Buffer.from(bytes), { binary: true });
  }

  /** END of the visitor's direction. */
  end(): void {
    this.#sentEnd = true;
    this.socket.send(Buffer.alloc(0), { binary: true });
    this.#closeAfterBoth();
  }

  /** It is the server that closes. */
  #closeAfterBoth(): void {
    if (this.ended && this.#sentEnd) this.socket.close(1000);
  }
}

/** The server's end of one control connection. */
export class TestControl extends EventEmitter {
  readonly socket: WebSocket;
  readonly handshake: Handshake;
  readonly ports: PortSpec[];
  readonly messages: Record<string, unknown>[] = [];
  closed: { code: number; reason: string } | undefined;

  constructor(socket: WebSocket, handshake: Handshake) {
    super();
    this.socket = socket;
    this.handshake = handshake;
    const list = parsePortList(handshake.query.get('ports') ?? '');
    this.ports = list.ok ? list.ports : [];
    this.setMaxListeners(0); // one a dial
    socket.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as Record<string, unknown>;
      this.messages.push(message);
      this.emit('message', message);
    });
    socket.on('error', () => {});
    socket.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() };
      this.emit('close');
    });
  }

  send(message: Record<string, unknown>): void {
    this.socket.send(JSON.stringify(message));
  }
}

export class TestServer {
  readonly handshakes: Handshake[] = [];
  readonly controls: TestControl[] = [];
  /** Answers to the next control handshakes; afterwards they are accepted. */
  readonly refusals: { status: number; code: string; retryAfter?: number }[] = [];
  /** False: control connections get no endpoint and no ready. */
  greet = true;
  /** Warm transfers that were granted; undefined: none is. */
  warm: Peer[] | undefined;
  /** Transfers are agreed to so much later than asked for, in milliseconds. */
  slowMs = 0;
  url = '';
  readonly #options: TestServerOptions & Required<Pick<TestServerOptions, 'host' | 'heartbeatMs' | 'token'>>;
  readonly #http: Server;
  readonly #sockets = new Set<Duplex>();
  readonly #transfers = new Map<string, (peer: Peer) => void>();
  readonly #ws = new WebSocketServer({ noServer: true, handleProtocols: () => 'culvert.v1', maxPayload: 1 << 20 });
  #epoch = 100;

  static async start(options: TestServerOptions = {}): Promise<TestServer> {
    const server = new TestServer(options);
    server.#http.listen(0, server.#options.host);
    await once(server.#http, 'listening');
    const { port, family } = server.#http.address() as AddressInfo;
    const host = options.tls === undefined ? server.#options.host : 'localhost';
    server.url = `${options.tls === undefined ? 'http' : 'https'}://${family === 'IPv6' && host !== 'localhost' ? `[${host}]` : host}:${port}`;
    return server;
  }

  private constructor(options: TestServerOptions) {
    this.#options = { host: '127.0.0.1', heartbeatMs: 30_000, token: 'device-token', ...options };
    this.#http = options.tls === undefined ? createServer() : createTlsServer(options.tls);
    this.#http.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
    });
    this.#http.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket, head));
  }

  /** The nth control connection, waited for. */
  async control(index = this.controls.length): Promise<TestControl> {
    const deadline = Date.now() + 8000;
    for (;;) {
      const found = this.controls[index];
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`no control connection ${index} within 8 s`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Asks the agent for a transfer: its peer, or the code of its `refused`. */
  async dial(control: TestControl, port: number, id = randomBytes(16).toString('hex')): Promise<Peer | RefusedCode> {
    return new Promise((resolve) => {
      const onMessage = (message: Record<string, unknown>): void => {
        if (message.type !== 'refused' || message.id !== id) return;
        control.off('message', onMessage);
        resolve(message.code as RefusedCode);
      };
      control.on('message', onMessage);
      this.#transfers.set(id, resolve);
      control.send({ type: 'dial', id, port, path: `/v1/transfer/tcp-listener-1/${id}`, visitor: '192.0.2.1:5555' });
    });
  }

  /** The transfer with this id, dialled by somebody else. */
  expect(id: string): Promise<Peer> {
    return new Promise((resolve) => this.#transfers.set(id, resolve));
  }

  /** `dial` that must not be refused. */
  async transfer(control: TestControl, port: number): Promise<Peer> {
    const peer = await this.dial(control, port);
    if (typeof peer === 'string') throw new Error(`the dial was refused: ${peer}`);
    return peer;
  }

  /** Reads and writes nothing any more, as a machine that hangs; the sockets stay open. */
  freeze(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#http.close();
    await once(this.#http, 'close');
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const target = new URL(request.url ?? '/', 'http://server');
    const handshake = { path: target.pathname, query: target.searchParams, headers: request.headers };
    this.handshakes.push(handshake);
    socket.on('error', () => {});
    const authorized = request.headers.authorization === `Bearer ${this.#options.token}`;
    const isControl = target.pathname === '/v1/control';
    const refusal = authorized ? (isControl ? this.refusals.shift() : undefined) : { status: 401, code: 'unauthorized' };
    const id = target.pathname.split('/')[4] ?? '';
    const isWarm = this.warm !== undefined && target.searchParams.get('warm') === '1';
    const waiting = isWarm ? (peer: Peer) => void this.warm?.push(peer) : this.#transfers.get(id);
    const unknown = isControl || waiting !== undefined ? undefined : { status: 404, code: 'not_found' };
    const fault = refusal ?? unknown;
    if (fault !== undefined) {
      refuse(socket, fault);
      return;
    }
    const agree = (): void =>
      this.#ws.handleUpgrade(request, socket, head, (webSocket) => {
        if (isControl) this.#onControl(new TestControl(webSocket, handshake));
        else {
          this.#transfers.delete(id);
          waiting?.(new Peer(webSocket, request.socket.remotePort));
        }
      });
    if (isControl || this.slowMs === 0) agree();
    else setTimeout(agree, this.slowMs);
  }

  #onControl(control: TestControl): void {
    this.controls.push(control);
    if (this.greet) this.ready(control);
  }

  /** Sends the endpoints and `ready`. */
  ready(control: TestControl): void {
    for (const { port, scheme } of control.ports) {
      const side =
        scheme === 'tcp'
          ? { host: 'culvert.localhost', public_port: 20_000 + port }
          : { url: `${scheme}://x${port}.culvert.localhost` };
      control.send({ type: 'endpoint', port, ...side });
    }
    const epoch = ++this.#epoch;
    const { direct: past } = this.#options;
    const direct = past === undefined ? {} : { transfer_url: past.url, transfer_key: past.key };
    const resumed = this.controls.length > 1;
    control.send({ type: 'ready', epoch, heartbeat_ms: this.#options.heartbeatMs, grace_ms: 3_600_000, resumed, ...direct });
  }
}

function refuse(socket: Duplex, refusal: { status: number; code: string; retryAfter?: number }): void {
  const body = JSON.stringify({ code: refusal.code, message: `refused as ${refusal.code}` });
  const retry = 'retryAfter' in refusal ? `Retry-After: ${refusal.retryAfter}\r\n` : '';
  socket.end(
    `HTTP/1.1 ${refusal.status} No\r\nContent-Type: application/json\r\n${retry}Content-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
  );
}
