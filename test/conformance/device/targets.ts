import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';

/** A local target of one item. */
export class LocalTarget {
  readonly sockets: Socket[] = [];
  /** How connections ended: `end` is a FIN, `reset` is a RST. */
  readonly endings: ('end' | 'reset' | 'close')[] = [];
  readonly #server: Server;

  private constructor(serve: (socket: Socket) => void) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false }, (socket) => {
      this.sockets.push(socket);
      let ending: 'end' | 'reset' | 'close' = 'close';
      socket.on('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNRESET' || error.code === 'EPIPE') ending = 'reset';
      });
      socket.on('end', () => {
        if (ending === 'close') ending = 'end';
      });
      socket.on('close', () => this.endings.push(ending));
      serve(socket);
    });
  }

  static async start(serve: (socket: Socket) => void): Promise<LocalTarget> {
    const target = new LocalTarget(serve);
    target.#server.listen(0, '127.0.0.1');
    await once(target.#server, 'listening');
    return target;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

/** Sends back what comes; ends when the other side has. */
export function echo(socket: Socket): void {
  socket.pipe(socket);
}

/** Answers with count and SHA-256 of all that came, once the other side has ended. */
export function digestAfterEnd(socket: Socket): void {
  const hash = createHash('sha256');
  let count = 0;
  socket.on('data', (chunk: Buffer) => {
    hash.update(chunk);
    count += chunk.length;
  });
  socket.on('end', () => socket.end(`${count} ${hash.digest('hex')}`));
}

export function digestOf(bytes: Buffer): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;
}
