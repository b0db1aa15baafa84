import type { Socket } from 'node:net';
import { ERRORS, type ErrorCode, isErrorCode, type VisitorOutcome } from '@culvert/contracts';

const STATUS: Record<number, string> = { 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout' };

/** The status that tells the edge's visitor of this outcome: 502, 503 or 504. */
export function statusOf(outcome: VisitorOutcome): number {
  const code: ErrorCode = isErrorCode(outcome) ? outcome : 'device_offline';
  const status = ERRORS[code].http;
  return status !== null && status in STATUS ? status : 503;
}

/**
 * Answers a request of the edge whose dial has failed, and closes. What the edge still sends is read and thrown away, since
 * unread bytes would turn the close into a reset and the answer would be lost. Resolves when the socket is gone, at the
 * latest after `closeMs`. The edge makes the page of it; the secret tells it that no device wrote this.
 */
export async function answerHttp(socket: Socket, outcome: VisitorOutcome, secret: string, closeMs: number): Promise<void> {
  if (socket.destroyed || !socket.writable) return;
  const status = statusOf(outcome);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS[status]}`,
    `Culvert-Outcome: ${outcome}`,
    ...(secret === '' ? [] : [`Culvert-Secret: ${secret}`]),
    'Content-Length: 0',
    'Connection: close',
  ];
  const closed = new Promise((done) => socket.once('close', done));
  const late = setTimeout(() => socket.destroy(), closeMs);
  socket.end(`${lines.join('\r\n')}\r\n\r\n`);
  socket.resume();
  await closed;
  clearTimeout(late);
}
