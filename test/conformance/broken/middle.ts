import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { type Frame, FrameCutter } from './frames.ts';

/** What goes wrong between a good agent and its server. Each hook gives what goes on; undefined: nothing does. */
export interface Breakage {
  /** The failing message has this in it. */
  says: string;
  request?(head: string, wire: Wire): string;
  answer?(head: string, wire: Wire): string;
  toAgent?(frame: Frame, wire: Wire): Frame | undefined;
  toServer?(frame: Frame, wire: Wire): Frame | undefined;
  /** A read from the server, `behind` the answer of the handshake in the same read or not. */
  chunk?(chunk: Buffer, wire: Wire, behind: boolean): Buffer;
  /** The server has broken the connection. */
  broken?(wire: Wire): void;
  /** These connections are read without looking whether the other side takes anything. */
  unbounded?: 'to agent' | 'to server';
  /** HTTP_PROXY is not obeyed. */
  ignoresProxy?: true;
}

/** One connection of the agent to its server. */
export class Wire {
  readonly agent: Socket;
  readonly server: Socket;
  readonly middle: Middle;
  control = false;
  warm = false;
  /** For breakages that remember something. */
  readonly seen = new Set<string>();
  count = 0;
  readonly #cutters = { agent: new FrameCutter(), server: new FrameCutter() };
  #requested = false;
  #answered = false;
  #head = Buffer.alloc(0);
  #answer = Buffer.alloc(0);

  constructor(agent: Socket, server: Socket, middle: Middle) {
    this.agent = agent;
    this.server = server;
    this.middle = middle;
    this.#join(agent, server, 'to server', (chunk) => this.#fromAgent(chunk));
    this.#join(server, agent, 'to agent', (chunk) => this.#fromServer(chunk));
  }

  destroy(): void {
    this.agent.destroy();
    this.server.destroy();
  }

  #join(from: Socket, to: Socket, direction: Breakage['unbounded'], pass: (chunk: Buffer) => void): void {
    const { breakage } = this.middle;
    from.on('data', (chunk: Buffer) => {
      pass(chunk);
      const unbounded = breakage.unbounded === direction && !this.control;
      if (to.writableLength > 262_144 && !unbounded) from.pause();
    });
    to.on('drain', () => from.resume());
    from.on('error', (error: NodeJS.ErrnoException) => {
      if (from === this.server && error.code === 'ECONNRESET') breakage.broken?.(this);
      if (!to.destroyed) to.resetAndDestroy();
    });
    from.on('end', () => to.end());
    from.on('close', () => {
      this.middle.wires.delete(this);
      to.destroySoon();
    });
  }

  #fromAgent(chunk: Buffer): void {
    let rest = chunk;
    if (!this.#requested) {
      this.#head = Buffer.concat([this.#head, chunk]);
      const end = this.#head.indexOf('\r\n\r\n');
      if (end < 0) return;
      this.#requested = true;
      rest = this.#head.subarray(end + 4);
      let head = this.#head.toString('latin1', 0, end + 4);
      this.control = head.startsWith('GET /v1/control');
      this.warm = /^GET [^ ]*[?&]warm=1/.test(head) && !this.control;
      head = head.replace(/\r\nHost: [^\r]*/i, `\r\nHost: 127.0.0.1:${this.middle.serverPort}`);
      this.server.write(this.middle.breakage.request?.(head, this) ?? head, 'latin1');
    }
    for (const frame of this.#cutters.agent.push(rest)) {
      const hook = this.middle.breakage.toServer;
      const passed = hook === undefined ? frame : hook(frame, this);
      if (passed !== undefined) this.server.write(passed.raw);
    }
  }

  #fromServer(chunk: Buffer): void {
    let rest = chunk;
    const { breakage } = this.middle;
    const behind = !this.#answered;
    if (behind) {
      this.#answer = Buffer.concat([this.#answer, chunk]);
      const end = this.#answer.indexOf('\r\n\r\n');
      if (end < 0) {
        breakage.chunk?.(Buffer.alloc(0), this, true);
        return;
      }
      this.#answered = true;
      const upgraded = this.#answer.toString('latin1', 0, 12) === 'HTTP/1.1 101';
      const head = this.#answer.toString('latin1', 0, upgraded ? end + 4 : this.#answer.length); // a refusal with its body
      this.agent.write(breakage.answer?.(head, this) ?? head, 'latin1');
      if (!upgraded) return;
      rest = this.#answer.subarray(end + 4);
    }
    rest = breakage.chunk?.(rest, this, behind) ?? rest;
    if (breakage.toAgent === undefined) {
      this.agent.write(rest);
      return;
    }
    for (const frame of this.#cutters.server.push(rest)) {
      const passed = breakage.toAgent(frame, this);
      if (passed !== undefined) this.agent.write(passed.raw);
    }
  }
}

/** Stands between an agent and its server, and breaks one thing. */
export class Middle {
  readonly breakage: Breakage;
  readonly serverPort: number;
  readonly wires = new Set<Wire>();
  readonly seen = new Set<string>();
  readonly #proxy: URL | undefined;

  constructor(serverPort: number, breakage: Breakage, proxy: string | undefined) {
    this.serverPort = serverPort;
    this.breakage = breakage;
    this.#proxy = proxy === undefined || breakage.ignoresProxy === true ? undefined : new URL(proxy);
  }

  async listen(): Promise<number> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (agent) => void this.#carry(agent));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }

  /** A connection to the server, through the proxy if there is one. */
  async dial(): Promise<Socket> {
    const proxy = this.#proxy;
    const port = proxy === undefined ? this.serverPort : Number(proxy.port);
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    socket.on('error', () => {});
    await once(socket, 'connect');
    if (proxy === undefined) return socket;
    const user = Buffer.from(`${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`).toString('base64');
    socket.write(`CONNECT 127.0.0.1:${this.serverPort} HTTP/1.1\r\nProxy-Authorization: Basic ${user}\r\n\r\n`);
    await once(socket, 'data'); // the proxy of the suite answers in one piece, and nothing follows unasked
    return socket;
  }

  async #carry(agent: Socket): Promise<void> {
    agent.on('error', () => {});
    const server = await this.dial().catch(() => undefined);
    if (server === undefined) agent.destroy();
    else {
      this.wires.add(new Wire(agent, server, this));
      agent.resume();
      server.resume();
    }
  }
}
