import { randomBytes } from 'node:crypto';
import net from 'node:net';
import type tls from 'node:tls';
import { CulvertError, DEFAULT_LIMITS } from '@culvert/contracts';
import { type Refused, ResponseParser, renderRequest, type Upgraded } from '@culvert/wire';
import type { RelayLimits } from './splice.ts';
import type { StopSignal } from './stop.ts';
import { beginTls, faultOfTls, type TlsTrust } from './tls-client.ts';
import { Transfer, type TransferOptions } from './transfer.ts';
import type { UpgradedSocket } from './upgrade.ts';

export interface WebSocketTarget extends TlsTrust {
  host: string;
  port: number;
  /** Present: wss. Certificates are always verified. */
  tls?: tls.ConnectionOptions | undefined;
  /** Request target, query included. */
  path: string;
  /** Bearer token. */
  token: string;
  headers?: Record<string, string>;
  signal?: StopSignal | undefined;
  /** For all of it: address lookup, TCP, TLS, handshake. Default: HANDSHAKE_MS. */
  deadlineMs?: number;
  /** Until the request is sent: address lookup, TCP, TLS. Default: `deadlineMs`. */
  connectMs?: number;
  /** Makes the TCP connection in place of a direct one, for instance through a proxy. Must obey the signal. */
  connect?: (signal: AbortSignal) => Promise<net.Socket>;
}

/**
 * Client: connects and performs the WebSocket handshake. The socket comes paused, for a `Transfer` or a `ControlSocket`.
 *
 * @throws CulvertError with the server's code when it refuses, `unavailable` when it cannot be reached or is too slow (the
 *   cause is kept), `protocol_error` for an answer that is none, `bye` when the signal was aborted.
 */
export async function connectWebSocket(target: WebSocketTarget): Promise<UpgradedSocket & { encrypted: boolean }> {
  const deadlineMs = target.deadlineMs ?? DEFAULT_LIMITS.HANDSHAKE_MS;
  const stop = new AbortController();
  const where = `${hostHeader(target)}${target.path.split('?', 1)[0]}`;
  const giveUpAfter = (ms: number, what: string): (() => void) =>
    onceLate(ms, () => stop.abort(new CulvertError('unavailable', `${where} ${what} within ${ms} ms`)));
  const onAnswered = giveUpAfter(deadlineMs, 'did not answer');
  const onConnected = target.connectMs === undefined ? ignore : giveUpAfter(target.connectMs, 'could not be connected to');
  const onAbort = (): void => stop.abort(new CulvertError('bye', 'stopped by the caller', { cause: target.signal?.reason }));
  if (target.signal?.aborted) onAbort();
  else target.signal?.addEventListener('abort', onAbort, { once: true });
  let socket: net.Socket | undefined;
  try {
    stop.signal.throwIfAborted();
    socket = await openSocket(target, stop.signal);
    onConnected();
    const answer = await handshake(socket, target, stop.signal);
    if (answer.kind === 'refused') {
      throw new CulvertError(answer.code, answer.message, { retryAfterMs: answer.retryAfterMs });
    }
    return { socket, head: answer.rest, encrypted: target.tls !== undefined };
  } catch (error) {
    socket?.destroy();
    if (stop.signal.aborted) throw stop.signal.reason;
    if (error instanceof CulvertError) throw error;
    const fault = target.tls === undefined ? undefined : faultOfTls(error, target.host);
    if (fault !== undefined) throw new CulvertError('unavailable', `${where} ${fault}`, { cause: error });
    throw new CulvertError('unavailable', `${where} cannot be reached: ${(error as Error).message}`, { cause: error });
  } finally {
    onAnswered();
    onConnected();
    target.signal?.removeEventListener('abort', onAbort);
  }
}

/** Client: dials a transfer connection. The mask is random over ws and zero over wss. Throws as `connectWebSocket`. */
export async function dialTransfer(
  target: WebSocketTarget,
  options: Omit<TransferOptions, 'role' | 'head' | 'mask'> & { limits?: RelayLimits } = {},
): Promise<Transfer> {
  const { socket, head, encrypted } = await connectWebSocket(target);
  return new Transfer(socket, { ...options, role: 'client', head, mask: encrypted ? 'zero' : 'random' });
}

/** Client: the connection under `connectWebSocket`, TLS included, for a request of another kind. The signal alone ends the attempt. */
export async function openSocket(
  target: Pick<WebSocketTarget, 'host' | 'port' | 'tls' | 'connect' | keyof TlsTrust>,
  signal: AbortSignal,
): Promise<net.Socket> {
  const { host, port } = target;
  const raw =
    target.connect === undefined
      ? net.connect({ host, port, allowHalfOpen: true, noDelay: true, autoSelectFamily: true })
      : await target.connect(signal);
  if (target.tls === undefined) {
    if (target.connect === undefined) await opened(raw, 'connect', signal);
    return raw;
  }
  raw.on('error', ignore);
  const secure = beginTls(raw, host, target.tls, target, `${host}:${port}`);
  await opened(secure, 'secureConnect', signal);
  return secure;
}

function opened(socket: net.Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      socket.destroy();
      reject(signal.reason);
    };
    if (signal.aborted) {
      socket.on('error', ignore);
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once(event, () => {
      signal.removeEventListener('abort', onAbort);
      resolve();
    });
    socket.on('error', reject); // stays: an error between two waits must have a listener
    socket.once('close', () => reject(new Error('the connection was closed')));
  });
}

function handshake(socket: net.Socket, target: WebSocketTarget, signal: AbortSignal): Promise<Upgraded | Refused> {
  const key = randomBytes(16).toString('base64');
  const parser = new ResponseParser(key);
  const request = renderRequest({
    host: hostHeader(target),
    path: target.path,
    key,
    token: target.token,
    ...(target.headers === undefined ? {} : { headers: target.headers }),
  });
  const { promise, resolve, reject } = Promise.withResolvers<Upgraded | Refused>();
  const onData = (chunk: Buffer): void => {
    try {
      const answer = parser.push(chunk);
      if (answer === undefined) return;
      socket.pause();
      resolve(answer);
    } catch (error) {
      reject(error);
    }
  };
  const onEnd = (): void => {
    const answer = parser.end();
    if (answer === undefined) reject(new CulvertError('unavailable', 'the server closed the connection during the handshake'));
    else resolve(answer);
  };
  const onAbort = (): void => reject(signal.reason);
  if (signal.aborted) onAbort();
  signal.addEventListener('abort', onAbort, { once: true });
  socket.on('data', onData).on('end', onEnd).on('error', reject).on('close', onEnd);
  socket.write(request);
  return promise.finally(() => {
    socket.off('data', onData).off('end', onEnd).off('close', onEnd);
    socket.on('error', ignore);
    signal.removeEventListener('abort', onAbort);
  });
}

/**
 * Calls `late` after a time, unless the function that it returns was called before. What has arrived by then is read first: where
 * this process was what stood still, nobody else was late.
 */
function onceLate(ms: number, late: () => void): () => void {
  let turn: NodeJS.Immediate | undefined;
  const timer = setTimeout(() => {
    turn = setImmediate(late);
  }, ms);
  return () => {
    clearTimeout(timer);
    clearImmediate(turn);
  };
}

/** The Host header: without the port where it is the scheme's own, IPv6 in brackets. */
function hostHeader({ host, port, tls: secure }: WebSocketTarget): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return port === (secure === undefined ? 80 : 443) ? name : `${name}:${port}`;
}

function ignore(): void {}
