import type { Socket } from 'node:net';
import { CulvertError, type ErrorCode, faultOfDeviceName } from '@culvert/contracts';
import type { Access } from './access.ts';
import { type LocalServer, listenLocally } from './local-server.ts';
import { type Destination, joinLocal, type LocalResult, openFor } from './local-visit.ts';
import { SocksParser, type SocksReply, type SocksStep, socksReply } from './socks.ts';

export interface SocksOptions {
  /** Where to listen; whoever reaches it acts with the operator's rights. */
  host: string;
  /** 0 picks a free one. */
  port: number;
  /** One connection is over; `to` is missing when it never said where it wanted to go. */
  onClosed?(result: LocalResult | CulvertError, to: Destination | undefined): void;
}

/** What devices are called: NAME.culvert. */
const SUFFIX = '.culvert';

const REPLIES: Partial<Record<ErrorCode, SocksReply>> = {
  unauthorized: 'not_allowed',
  forbidden: 'not_allowed',
  not_allowed: 'not_allowed',
  revoked: 'not_allowed',
  not_found: 'host_unreachable',
  device_offline: 'host_unreachable',
  unavailable: 'network_unreachable',
  local_refused: 'refused',
  local_timeout: 'expired',
  dial_timeout: 'expired',
};

/**
 * A SOCKS 5 proxy for NAME.culvert:PORT: any device, any port that it lets the operator have. Other hosts are refused.
 *
 * @throws CulvertError `unavailable` when the local port cannot be opened.
 */
export function listenSocks(access: Access, { host, port, onClosed }: SocksOptions): Promise<LocalServer> {
  const serve = async (socket: Socket, signal: AbortSignal): Promise<void> => {
    let to: Destination | undefined;
    try {
      const asked = await negotiate(socket, access.limits.SOCKS_MS, signal);
      to = destinationOf(asked.host, asked.port);
      const transfer = await openFor(socket, to, access, signal);
      socket.write(socksReply('ok'));
      if (asked.rest.length > 0) socket.unshift(asked.rest);
      onClosed?.(await joinLocal(transfer, socket, signal), to);
    } catch (error) {
      const fault = error instanceof CulvertError ? error : new CulvertError('internal', undefined, { cause: error });
      if (fault instanceof SocksFault) await say(socket, fault.answer, access.limits.CLOSE_MS);
      else await say(socket, socksReply(REPLIES[fault.code] ?? 'failed'), access.limits.CLOSE_MS);
      onClosed?.(fault, to);
    }
  };
  return listenLocally({ host, port, most: access.limits.ACCESS_LOCAL, serve });
}

/** A client that does not get as far as asking for a device, with what it is told. */
class SocksFault extends CulvertError {
  readonly answer: Buffer;

  constructor(code: ErrorCode, message: string, answer: Buffer) {
    super(code, message);
    this.answer = answer;
  }
}

/** Greeting and request, within the deadline. */
async function negotiate(
  socket: Socket,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<Extract<SocksStep, { kind: 'connect' }>> {
  const parser = new SocksParser();
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), deadlineMs);
  const leave = (): void => late.abort();
  signal.addEventListener('abort', leave, { once: true });
  try {
    for (;;) {
      const chunk = await nextChunk(socket, late.signal);
      if (chunk === undefined)
        throw new SocksFault('bad_request', 'the client left, or did not finish its request in time', NOTHING);
      for (let step = parser.push(chunk); step.kind !== 'more'; step = parser.push(NOTHING)) {
        if (step.kind === 'connect') return step;
        if (step.kind === 'refuse') throw new SocksFault('bad_request', `not understood: ${step.fault}`, step.bytes);
        socket.write(step.bytes);
      }
    }
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', leave);
  }
}

/** Undefined at the end of the stream, or when the signal is aborted. */
function nextChunk(socket: Socket, signal: AbortSignal): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const settle = (chunk: Buffer | undefined): void => {
      socket.off('readable', onReadable).off('end', onGone).off('close', onGone);
      signal.removeEventListener('abort', onGone);
      resolve(chunk);
    };
    const onReadable = (): void => {
      const chunk = socket.read() as Buffer | null;
      if (chunk !== null) settle(chunk);
    };
    const onGone = (): void => settle(undefined);
    socket.on('readable', onReadable).once('end', onGone).once('close', onGone);
    signal.addEventListener('abort', onGone, { once: true });
    if (socket.destroyed || signal.aborted) onGone();
  });
}

function destinationOf(host: string, port: number): Destination {
  const name = host.toLowerCase().replace(/\.$/, '');
  const device = name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : undefined;
  if (device === undefined || faultOfDeviceName(device) !== undefined || port === 0) {
    const message = `${JSON.stringify(host.slice(0, 255))}, port ${port}: expected the name of a device, such as alice${SUFFIX}:22`;
    throw new SocksFault('not_allowed', message, socksReply('not_allowed'));
  }
  return { device, port };
}

/** Sends the last words; the client has a moment to read them. */
async function say(socket: Socket, words: Buffer, closeMs: number): Promise<void> {
  if (socket.destroyed) return;
  const closed = new Promise((done) => socket.once('close', done));
  const timer = setTimeout(() => socket.destroy(), closeMs);
  socket.end(words);
  socket.once('end', () => socket.destroy()).resume();
  await closed;
  clearTimeout(timer);
}

const NOTHING = Buffer.alloc(0);
