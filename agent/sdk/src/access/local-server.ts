import { createServer, type Socket } from 'node:net';
import { CulvertError } from '@culvert/contracts';

/** Bytes of a waiting client that Node may hold before the kernel holds the rest. */
const READ_AHEAD = 16 * 1024;

export interface LocalServerOptions {
  host: string;
  /** 0 picks a free one. */
  port: number;
  /** Connections at once; more are reset. */
  most: number;
  /** Serves one connection to its end; must not reject. Half-open is allowed; Node reads ahead a little, so that a reset is noticed. */
  serve(socket: Socket, signal: AbortSignal): Promise<void>;
}

export interface LocalServer {
  /** host:port, IPv6 in brackets. */
  readonly address: string;
  readonly port: number;
  /** Stops listening and ends what runs. */
  close(): Promise<void>;
}

/**
 * A port on the operator's machine.
 *
 * @throws CulvertError `unavailable` when it cannot be opened.
 */
export async function listenLocally({ host, port, most, serve }: LocalServerOptions): Promise<LocalServer> {
  const stop = new AbortController();
  const running = new Set<Promise<void>>();
  const server = createServer({ allowHalfOpen: true, noDelay: true, highWaterMark: READ_AHEAD }, (socket) => {
    socket.on('error', () => {});
    if (running.size >= most || stop.signal.aborted) return void socket.resetAndDestroy();
    const life = serve(socket, stop.signal).finally(() => {
      socket.destroy();
      running.delete(life);
    });
    running.add(life);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new CulvertError('unavailable', `cannot listen: ${cause.message}`, { cause })));
    server.listen({ host, port }, resolve);
  });
  const bound = server.address() as { address: string; port: number };
  return {
    address: `${bound.address.includes(':') ? `[${bound.address}]` : bound.address}:${bound.port}`,
    port: bound.port,
    close: async () => {
      const closed = new Promise((done) => server.close(done));
      stop.abort(new CulvertError('wind_down', 'stopped'));
      await Promise.all([closed, ...running]);
    },
  };
}
