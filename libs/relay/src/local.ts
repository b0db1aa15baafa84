import type net from 'node:net';
import { CulvertError, DEFAULT_LIMITS } from '@culvert/contracts';
import { connectAdoptable } from './adopt.ts';
import type { StopSignal } from './stop.ts';
import { type Swept, sweep } from './sweep.ts';

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
export function connectLocal(target: LocalTarget): Promise<net.Socket> {
  const { signal } = target;
  if (signal?.aborted) return Promise.reject(new CulvertError('bye', 'stopped by the caller', { cause: signal.reason }));
  return new Promise((resolve, reject) => new Attempt(target, resolve, reject));
}

/** Its deadline is watched by the sweep: a timer each would cost more than the rest of it. */
class Attempt implements Swept {
  place: number | undefined = undefined;
  readonly #where: string;
  readonly #limitMs: number;
  readonly #until: number;
  readonly #signal: StopSignal | undefined;
  readonly #socket: net.Socket;
  readonly #reject: (error: CulvertError) => void;

  constructor(
    { host, port, timeoutMs, signal }: LocalTarget,
    resolve: (socket: net.Socket) => void,
    reject: (error: CulvertError) => void,
  ) {
    this.#where = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    this.#limitMs = timeoutMs ?? DEFAULT_LIMITS.LOCAL_CONNECT_MS;
    this.#until = performance.now() + this.#limitMs;
    this.#signal = signal;
    this.#reject = reject;
    this.#socket = connectAdoptable({ host, port, allowHalfOpen: true, noDelay: true, autoSelectFamily: true });
    // Stays: an error before it is adopted must have a listener.
    this.#socket.on('error', this.#onError).on('connect', () => {
      this.#settle();
      resolve(this.#socket);
    });
    sweep.add(this, this.#limitMs);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** For the sweep. */
  check(now: number): void {
    if (now >= this.#until)
      this.#fail(new CulvertError('local_timeout', `${this.#where} did not answer within ${this.#limitMs} ms`));
  }

  readonly #onError = (error: NodeJS.ErrnoException): void => {
    const code = error.code === 'ETIMEDOUT' ? 'local_timeout' : 'local_refused';
    this.#fail(new CulvertError(code, `${this.#where}: ${error.message}`, { cause: error }));
  };

  readonly #onAbort = (): void => {
    this.#fail(new CulvertError('bye', 'stopped by the caller', { cause: this.#signal?.reason }));
  };

  #fail(error: CulvertError): void {
    this.#settle();
    this.#socket.destroy();
    this.#reject(error);
  }

  #settle(): void {
    sweep.delete(this);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
