import type { Socket } from 'node:net';
import type { Scheme } from '@culvert/contracts';

/**
 * Watches a visitor who waits. Node reads ahead a bounded first part and then leaves the rest to the kernel, so a reset
 * is noticed as long as the visitor has sent less than that. A visitor of a tcp endpoint who has only ended its own
 * direction still waits for an answer (`nc -N`); the edge does so only when its own visitor has left.
 *
 * @returns Ends the watch. What was read stays in the socket.
 */
export function watchWaiting(socket: Socket, scheme: Scheme, onGone: () => void): () => void {
  socket.on('error', ignore); // without a listener Node would throw; 'close' follows
  socket.on('close', onGone);
  if (scheme !== 'tcp') socket.on('end', onGone);
  if (socket.destroyed || (scheme !== 'tcp' && socket.readableEnded)) queueMicrotask(onGone);
  return () => void socket.off('close', onGone).off('end', onGone);
}

function ignore(): void {}
