import type net from 'node:net';
import { CulvertError, DEFAULT_LIMITS } from '@culvert/contracts';
import { connectAdoptable } from './adopt.ts';
import type { StopSignal } from './stop.ts';

export interface LocalTarget {
  /** Name or address; a name with several addresses is tried as RFC 8305 says. */
  host: string;
  port: number;
  /** Default: LOCAL_CONNECT_MS. */
  timeoutMs?: number;
  signal?: StopSignal | undefined;
}

/**
 * Agent: connects to a local target. The socket comes paused, half-open allowed, with nothing read: give it to
 * `splice`, by which alone it can be read.
 *
 * @throws CulvertError `local_timeout`, `local_refused` for every other failure (the cause is kept), `bye` when aborted.
 */
export function connectLocal({ host, port, timeoutMs, signal }: LocalTarget): Promise<net.Socket> {
  const limitMs = timeoutMs ?? DEFAULT_LIMITS.LOCAL_CONNECT_MS;
  if (signal?.aborted) return Promise.reject(new CulvertError('bye', 'stopped by the caller', { cause: signal.reason }));
  const socket = connectAdoptable({ host, port, allowHalfOpen: true, noDelay: true, autoSelectFamily: true });
  const where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  return new Promise((resolve, reject) => {
    const settle = (): void => {
      clearTimeout(deadline);
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: CulvertError): void => {
      settle();
      socket.destroy();
      reject(error);
    };
    const deadline = setTimeout(
      () => fail(new CulvertError('local_timeout', `${where} did not answer within ${limitMs} ms`)),
      limitMs,
    );
    const onAbort = (): void => fail(new CulvertError('bye', 'stopped by the caller', { cause: signal?.reason }));
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => {
      settle();
      resolve(socket);
    });
    // Stays: an error before it is adopted must have a listener.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const code = error.code === 'ETIMEDOUT' ? 'local_timeout' : 'local_refused';
      fail(new CulvertError(code, `${where}: ${error.message}`, { cause: error }));
    });
  });
}
