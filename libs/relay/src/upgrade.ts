import type { IncomingMessage } from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { DEFAULT_LIMITS, type ErrorCode } from '@culvert/contracts';
import { renderRefusal, renderUpgrade } from '@culvert/wire';

/** A socket that speaks WebSocket from here on, and the bytes that already came behind the handshake. */
export interface UpgradedSocket {
  socket: net.Socket;
  head: Buffer;
}

/**
 * Server: agrees to a handshake that was checked by `wire`. `socket` and `head` are those of http's 'upgrade' event; between
 * that event and this call the socket needs an 'error' listener of its own, since http has removed its own.
 */
export function acceptUpgrade(req: IncomingMessage, socket: Duplex, head: Buffer): UpgradedSocket {
  const raw = socket as net.Socket;
  raw.on('error', ignore);
  if (raw.writable) raw.write(renderUpgrade(String(req.headers['sec-websocket-key'])));
  return { socket: raw, head };
}

/** Server: answers a handshake with a refusal and closes the socket, within CLOSE_MS whatever the peer does. */
export function refuseUpgrade(
  socket: Duplex,
  refusal: { code: ErrorCode; message: string; retryAfterMs?: number | undefined },
  closeMs: number = DEFAULT_LIMITS.CLOSE_MS,
): void {
  socket.on('error', ignore);
  if (socket.destroyed) return;
  socket.end(renderRefusal(refusal));
  socket.resume(); // what it still sends is thrown away, or its end would never be seen
  const deadline = setTimeout(() => socket.destroy(), closeMs);
  socket.once('close', () => clearTimeout(deadline));
}

function ignore(): void {}
