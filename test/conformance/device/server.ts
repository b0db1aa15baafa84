import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { parsePortList } from '@culvert/contracts';
import { Peer, type Request, type Text, textFrame } from './peer.ts';
import { check, until } from './wait.ts';

export const LISTENER = 'tcp-listener-1';
const HEAD_MAX = 16_384;

/** A server that does nothing by itself: it keeps what agents ask for until an item answers. */
export class ScriptServer {
  readonly peers: Peer[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** TCP connections that were accepted, those that never sent a request included. */
  connections = 0;
  /** True: connections are closed as soon as they come. */
  deaf = false;
  #taken = new Set<Peer>();
  #epoch = 1000;

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => this.#onConnection(socket));
  }

  static async start(): Promise<ScriptServer> {
    const server = new ScriptServer();
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** All handshakes of control connections so far. */
  get controls(): Peer[] {
    return this.peers.filter((peer) => peer.request.path === '/v1/control');
  }

  /** The next request of that kind that nobody has taken, unanswered. */
  async next(what: string, wanted: (peer: Peer) => boolean, deadlineMs?: number): Promise<Peer> {
    const peer = await until(what, () => this.peers.find((one) => !this.#taken.has(one) && wanted(one)), deadlineMs);
    this.#taken.add(peer);
    return peer;
  }

  nextControl(deadlineMs?: number): Promise<Peer> {
    return this.next('a handshake of a control connection', (peer) => peer.request.path === '/v1/control', deadlineMs);
  }

  /** The next control connection, accepted and told everything. */
  async connected(ready: Text = {}, deadlineMs?: number): Promise<Peer> {
    const control = await this.nextControl(deadlineMs);
    await control.accept(...this.greeting(control, ready));
    return control;
  }

  /** `endpoint` for each port, then `ready`. */
  greeting(control: Peer, ready: Text = {}): Buffer[] {
    const list = parsePortList(control.request.query.get('ports') ?? '');
    const ports = list.ok ? list.ports : [];
    const endpoints = ports.map(({ port, scheme }) => ({
      ...{ type: 'endpoint', port },
      ...(scheme === 'tcp' ? { host: 'culvert.test', public_port: 20_000 } : { url: `https://p${port}.culvert.test` }),
    }));
    this.#epoch += 1;
    const told = { type: 'ready', epoch: this.#epoch, heartbeat_ms: 30_000, grace_ms: 3_600_000, resumed: false, ...ready };
    return [...endpoints, told].map(textFrame);
  }

  dialOf(port: number, id = randomBytes(16).toString('base64url')): Text & { id: string; path: string } {
    return { type: 'dial', id, port, path: `/v1/transfer/${LISTENER}/${id}`, visitor: '192.0.2.7:4711' };
  }

  /** Dials; gives the handshake of the transfer, unanswered, or the code with which it was refused. */
  async dial(control: Peer, port: number, deadlineMs?: number): Promise<Peer | string> {
    const dial = this.dialOf(port);
    await control.say(dial);
    return this.answerTo(control, dial.id, deadlineMs);
  }

  async answerTo(control: Peer, id: string, deadlineMs?: number): Promise<Peer | string> {
    const refused = (): Text | undefined => control.texts.find((text) => text.type === 'refused' && text.id === id);
    const opened = (): Peer | undefined => this.peers.find((peer) => peer.request.path.endsWith(`/${id}`));
    await until('a transfer connection, or refused, for a dial', () => refused() ?? opened(), deadlineMs);
    const peer = opened();
    if (peer === undefined) return String(refused()?.code);
    this.#taken.add(peer);
    return peer;
  }

  /** Dials, and accepts the transfer. */
  async open(control: Peer, port: number, ...behind: Buffer[]): Promise<Peer> {
    const answer = await this.dial(control, port);
    if (typeof answer === 'string') return check(false, `the dial was refused as ${answer}`) as never;
    return answer.accept(...behind);
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #onConnection(socket: Socket): void {
    this.connections += 1;
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => this.#sockets.delete(socket));
    if (this.deaf) {
      socket.destroy();
      return;
    }
    let head = Buffer.alloc(0);
    const onEnd = (): void => void socket.destroy();
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) {
        if (head.length > HEAD_MAX) socket.destroy();
        return;
      }
      socket.off('data', onData);
      const request = parseRequest(head.toString('latin1', 0, end + 4));
      this.peers.push(new Peer(socket, request, head.subarray(end + 4)));
    };
    socket.on('data', onData).on('end', onEnd);
  }
}

function parseRequest(text: string): Request {
  const [first = '', ...lines] = text.trimEnd().split('\r\n');
  const [method = '', target = ''] = first.split(' ');
  const mark = target.indexOf('?');
  return {
    ...{ text, method, target, at: performance.now() },
    path: mark < 0 ? target : target.slice(0, mark),
    query: new URLSearchParams(mark < 0 ? '' : target.slice(mark + 1)),
    headers: new Map(
      lines.map((line) => [line.slice(0, line.indexOf(':')).trim().toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    ),
  };
}
