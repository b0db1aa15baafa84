import type net from 'node:net';
import { CulvertError, ERRORS, type ErrorCode } from '@culvert/contracts';
import { CLOSE_INTERNAL, codeOfAbort, outcomeOf, outcomeOfClose } from './ending.ts';
import type { InlineStream } from './inline-stream.ts';
import { type RelayLimits, Splice, type SpliceResult } from './splice.ts';
import type { StopSignal } from './stop.ts';
import { sweep } from './sweep.ts';
import { Owner } from './turns.ts';

/** The WebSocket close code that stands for a code of our table. */
export function closeCodeOf(code: ErrorCode): number {
  return ERRORS[code].close ?? CLOSE_INTERNAL;
}

/**
 * Device: joins an inline transfer with the socket of the local target, as `Transfer.splice` does with a transfer connection.
 * Never rejects. Both are destroyed in the end; the server is the one to say CLOSE when all is in order.
 */
export async function spliceInline(
  stream: InlineStream,
  tcp: net.Socket,
  { limits, signal }: { limits: RelayLimits; signal?: StopSignal | undefined },
): Promise<SpliceResult> {
  const socket = stream as unknown as net.Socket; // all that a splice asks of the other end, a stream has as well
  const flushed = (): void => {
    if (splice.tcp.writableLength === 0) stream.resume();
  };
  let splice: Splice;
  try {
    splice = new Splice(
      {
        ...{ owner: new Owner(), role: 'client', socket, limits, maxFrame: limits.TRANSFER_BUFFER_BYTES },
        sendData: (bytes, from, to, done) => void stream.write(bytes.subarray(from, to), done),
        sendEnd: () => void stream.end(),
        spliceOver: (code) => {
          if (code !== undefined) stream.closeWith(closeCodeOf(code));
        },
      },
      tcp,
      flushed,
      false,
    );
  } catch (error) {
    if (!(error instanceof CulvertError)) throw error;
    stream.closeWith(closeCodeOf(error.code)); // the target has broken off already
    return { outcome: outcomeOf(error.code), toDevice: 0, toVisitor: 0 };
  }
  stream.onPeerClose = (code) => {
    if (!stream.bothEnded) splice.settle(outcomeOfClose(code, 'client'), undefined);
  };
  stream.on('data', (chunk: Buffer) => {
    splice.write(chunk, 0, chunk.length);
    if (splice.tcp.writableLength > 0) stream.pause();
  });
  stream.on('end', () => splice.end());
  const onAbort = (): void => {
    if (signal !== undefined) splice.settle(outcomeOf(codeOfAbort(signal)), codeOfAbort(signal));
  };
  const live = splice;
  const settled = new Promise<SpliceResult>((resolve) => {
    live.onSettled = (result) => {
      sweep.delete(live);
      signal?.removeEventListener('abort', onAbort);
      resolve(result);
    };
  });
  sweep.add(live, Math.min(limits.LINGER_MS, limits.WRITE_MS));
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  splice.start();
  return settled;
}
