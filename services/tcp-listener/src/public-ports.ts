import { type BlockList, createServer, isIP, type Server, type Socket } from 'node:net';
import type { Scheme } from '@culvert/contracts';

export interface PublicPortsOptions {
  /** Where tcp endpoints listen; `::` is both families. */
  tcpHost: string;
  /** Where the ports of http and https endpoints listen: reached by the edge only. */
  httpHost: string;
  /** Where edges stand: from anywhere else nobody gets in there, should the host be reached from outside. */
  edges: BlockList;
  /** A visitor came. The socket is already being read, up to VISITOR_READ_AHEAD, so that a reset is noticed. */
  onVisitor(socket: Socket, publicPort: number): void;
  /** A port that was paused cannot be opened now; it is tried again. */
  onBlocked?(port: number, error: Error): void;
}

interface Bound {
  /** Of a port that is paused: the one that was closed. */
  server: Server;
  host: string;
  scheme: Scheme;
  /** Until it is opened again. */
  paused?: { ms: number; timer: NodeJS.Timeout };
}

/** Those of tcp endpoints, or those that the edge alone reaches. */
export type PortKind = 'tcp' | 'edge';
const kindOf = (scheme: Scheme): PortKind => (scheme === 'tcp' ? 'tcp' : 'edge');

const BACKLOG = 1024;
/** Bytes of a waiting visitor that Node may hold before the kernel holds the rest; one read may go beyond it by 64 KiB. */
const VISITOR_READ_AHEAD = 16 * 1024;
const ANY_IPV6 = '::';
const ANY_IPV4 = '0.0.0.0';

/** The public ports that are open now. Knows nothing about devices. */
export class PublicPorts {
  readonly #options: PublicPortsOptions;
  readonly #bound = new Map<number, Bound>();
  readonly #closed = new Set<PortKind>();

  constructor(options: PublicPortsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#bound.size;
  }

  /** Is the port open where this scheme's ports are? */
  isOpen(port: number, scheme: Scheme): boolean {
    return this.#bound.get(port)?.host === this.#hostOf(scheme);
  }

  /** Opens a port, or moves it to the host of the scheme. @throws the error of the system when it is not to be had. */
  async open(port: number, scheme: Scheme): Promise<void> {
    const host = this.#hostOf(scheme);
    if (this.isOpen(port, scheme)) return this.#resume(port);
    if (this.#closed.has(kindOf(scheme))) return;
    this.close(port);
    const bound: Bound = { server: this.#serverOf(port, scheme), host, scheme };
    this.#bound.set(port, bound);
    try {
      await this.#listen(bound.server, host, port);
    } catch (error) {
      if (this.#bound.get(port) === bound) this.#bound.delete(port);
      throw error;
    }
  }

  /**
   * The kernel refuses visitors for so long, or until the port is opened anew, without a word to us; those that were accepted
   * go on. Should something else have taken the port by then, it is tried again as much later.
   */
  pause(port: number, ms: number): void {
    const bound = this.#bound.get(port);
    if (bound === undefined || bound.paused !== undefined) return;
    bound.server.close();
    bound.paused = { ms, timer: setTimeout(() => void this.#resume(port), ms) };
  }

  async #resume(port: number): Promise<void> {
    const bound = this.#bound.get(port);
    if (bound?.paused === undefined) return;
    const { timer, ms } = bound.paused;
    clearTimeout(timer);
    delete bound.paused;
    const server = this.#serverOf(port, bound.scheme);
    bound.server = server;
    try {
      await this.#listen(server, bound.host, port);
      if (this.#bound.get(port)?.server !== server) server.close(); // closed meanwhile
    } catch (error) {
      this.#options.onBlocked?.(port, error as Error);
      if (bound.server === server) this.pause(port, ms);
    }
  }

  /** No visitor is accepted any more; those that were go on. */
  close(port: number): void {
    const bound = this.#bound.get(port);
    this.#bound.delete(port);
    clearTimeout(bound?.paused?.timer);
    bound?.server.close();
  }

  #serverOf(port: number, scheme: Scheme): Server {
    return createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: VISITOR_READ_AHEAD }, (socket) => {
      if (kindOf(scheme) === 'edge' && !isAmong(this.#options.edges, socket.remoteAddress)) return void refuse(socket);
      this.#options.onVisitor(socket, port);
    });
  }

  /** For good: what is bound from now on is for the next start of this listener. */
  closeAll(kind: PortKind): void {
    this.#closed.add(kind);
    for (const [port, { scheme }] of [...this.#bound]) if (kindOf(scheme) === kind) this.close(port);
  }

  #hostOf(scheme: Scheme): string {
    return scheme === 'tcp' ? this.#options.tcpHost : this.#options.httpHost;
  }

  async #listen(server: Server, host: string, port: number): Promise<void> {
    try {
      await listenOnce(server, host, port);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const noIpv6 = code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL';
      if (host !== ANY_IPV6 || !noIpv6) throw error;
      await listenOnce(server, ANY_IPV4, port);
    }
    server.on('error', () => {}); // accept failures (no descriptors left): the server goes on by itself
  }
}

function isAmong(list: BlockList, address = ''): boolean {
  const version = isIP(address);
  return version !== 0 && list.check(address, version === 6 ? 'ipv6' : 'ipv4');
}

function refuse(socket: Socket): void {
  socket.on('error', () => {}).resetAndDestroy();
}

function listenOnce(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}
