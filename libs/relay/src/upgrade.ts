import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { DEFAULT_LIMITS, type ErrorCode } from '@culvert/contracts';
import { renderRefusal } from '@culvert/wire';

/** A socket that speaks WebSocket from here on, and the bytes that already came behind the handshake. */
export interface UpgradedSocket {
  socket: net.Socket;
  head: Buffer;
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
