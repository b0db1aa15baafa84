import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';

/** What happens to connections that ask for a transfer; all others pass. */
export type TransferFate = 'pass' | 'blackhole' | 'reset';

const REQUEST_LINE_BYTES = 4_096;

/** A TCP proxy before a server, as a strict network has it: it tells transfers from control connections by the request line. */
export class DividingProxy {
  readonly url: string;
  transfers: TransferFate = 'pass';
  /** Connections that asked for a transfer and did not get through. */
  kept = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(server: net.Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(upstream: string): Promise<DividingProxy> {
    const { hostname, port } = new URL(upstream);
    const server = net.createServer({ allowHalfOpen: true, noDelay: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const proxy = new DividingProxy(server);
    server.on('connection', (socket) => proxy.#divide(socket, hostname, Number(port)));
    return proxy;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #divide(socket: net.Socket, host: string, port: number): void {
    this.#own(socket);
    let head = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk]);
      if (!head.includes('\r\n') && head.length < REQUEST_LINE_BYTES) return;
      socket.off('data', onData);
      socket.pause();
      const isTransfer = head.subarray(0, 64).includes('/v1/transfer');
      if (isTransfer && this.transfers !== 'pass') {
        this.kept += 1;
        if (this.transfers === 'reset') socket.resetAndDestroy();
        return; // in the black hole it stays open, and nobody answers
      }
      const up = net.connect({ host, port, allowHalfOpen: true, noDelay: true });
      this.#own(up);
      up.write(head);
      socket.pipe(up).pipe(socket);
      socket.on('close', () => up.destroy());
      up.on('close', () => socket.destroy());
    };
    socket.on('data', onData);
  }

  #own(socket: net.Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
  }
}
