import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CulvertError } from '@culvert/contracts';
import { pipe } from '@culvert/relay';
import type { Access } from './access.ts';
import { type LocalServer, listenLocally } from './local-server.ts';
import { type Destination, joinLocal, type LocalResult, openFor } from './local-visit.ts';

export interface ForwardOptions {
  /** Where to listen on this machine; port 0 picks a free one. */
  host: string;
  port: number;
  to: Destination;
  /** One connection is over: as a result, or as the error that kept it from beginning. */
  onClosed?(result: LocalResult | CulvertError): void;
}

/**
 * A local port whose every connection goes to a port of a device. The device may come and go: each connection is a new try.
 *
 * @throws CulvertError `unavailable` when the local port cannot be opened.
 */
export function listenForward(access: Access, { host, port, to, onClosed }: ForwardOptions): Promise<LocalServer> {
  const serve = async (socket: Socket, signal: AbortSignal): Promise<void> => {
    try {
      const transfer = await openFor(socket, to, access, signal);
      onClosed?.(await joinLocal(transfer, socket, signal));
    } catch (error) {
      socket.resetAndDestroy();
      onClosed?.(error instanceof CulvertError ? error : new CulvertError('internal', undefined, { cause: error }));
    }
  };
  return listenLocally({ host, port, most: access.limits.ACCESS_LOCAL, serve });
}

/**
 * Joins a pair of streams, such as standard input and output, with a port of a device, until both directions have ended.
 *
 * @throws CulvertError as `Access.open`.
 */
export async function forwardStreams(
  access: Access,
  to: Destination,
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  signal: AbortSignal,
): Promise<LocalResult> {
  const transfer = await access.open(to.device, to.port, signal);
  const [ours, theirs] = pipe();
  const near: Duplex = theirs;
  near.on('error', () => {}); // how it ended is in the result
  input.on('error', () => near.destroy());
  output.on('error', () => near.destroy());
  input.pipe(near);
  near.pipe(output, { end: false });
  const drained = new Promise((done) => near.once('end', done).once('close', done));
  const result = await joinLocal(transfer, ours, signal);
  if (result.outcome === 'ok') await drained;
  input.unpipe(near);
  return result;
}
