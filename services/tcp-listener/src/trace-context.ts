import type { Socket } from 'node:net';
import type { StopSignal } from '@culvert/relay';

/** The edge sends its request at once; who does not is not waited for any longer than this. */
const HEAD_MS = 100;
const HEADER = /\r\ntraceparent:[ \t]*(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})[ \t]*\r\n/i;

/** Takes the first part of a request out of the socket of the edge; empty when none comes in time. */
export function readFirst(socket: Socket, signal: StopSignal): Promise<Buffer> {
  return new Promise((resolve) => {
    const settle = (): void => {
      clearTimeout(timer);
      socket.off('readable', settle);
      signal.removeEventListener('abort', settle);
      resolve(socket.readableLength > 0 ? ((socket.read() as Buffer | null) ?? Buffer.alloc(0)) : Buffer.alloc(0));
    };
    const timer = setTimeout(settle, HEAD_MS);
    signal.addEventListener('abort', settle, { once: true });
    socket.on('readable', settle);
    if (socket.readableLength > 0 || signal.aborted) settle();
  });
}

/** The W3C trace context in the head of a request; undefined when there is none. */
export function traceparentIn(head: Buffer): string | undefined {
  const text = head.toString('latin1');
  const end = text.indexOf('\r\n\r\n');
  return HEADER.exec(end < 0 ? text : text.slice(0, end + 2))?.[1];
}
