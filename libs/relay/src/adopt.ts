import net from 'node:net';
import { CulvertError } from '@culvert/contracts';
import { InlineStream } from './inline-stream.ts';

/** The parts of Node's stream handles that the relay uses. They are not documented; `adopt` checks that they are there. */
interface Handle {
  readStart?(): number;
  reading?: boolean;
  useUserBuffer?(buffer: Uint8Array): void;
  bytesWritten?: number;
  writeQueueSize?: number;
}
interface Internals {
  _handle: Handle | null;
  _server: unknown;
  server: unknown;
  _readableState: { ended: boolean };
}

export interface OnRead {
  /** The buffer of the next read; null keeps the present one. Called once at the start and after every read. */
  buffer: () => Uint8Array | null;
  /** `count` bytes are in the buffer; false stops reading until `resume()`. */
  callback: (count: number) => boolean;
}

export interface Adopted {
  /** Paused, half-open allowed. */
  socket: net.Socket;
  /** Bytes that the old one had already read. */
  head: Buffer;
}

/** Write queue above which `write()` says false. The relay looks at `writableLength` instead. */
const HIGH_WATER_MARK = 1 << 20;

/** Sockets of `connectAdoptable` that nobody has adopted yet, and who is to get their bytes. */
const adoptable = new WeakMap<net.Socket, { to?: OnRead }>();
/** Nothing is read into it: such a socket is paused until it is adopted. */
const NOWHERE = new Uint8Array(1);

/** `net.connect` for a socket that `adopt` need not replace by another one; paused. No 'data' comes of it. */
export function connectAdoptable(options: net.TcpNetConnectOpts): net.Socket {
  const reader: { to?: OnRead } = {};
  const onread: OnRead = {
    buffer: () => (reader.to === undefined ? NOWHERE : reader.to.buffer()),
    callback: (count) => {
      if (reader.to !== undefined) return reader.to.callback(count);
      socket.destroy(new Error('a socket was read before it was adopted'));
      return false;
    },
  };
  const socket = net.connect({ ...options, highWaterMark: HIGH_WATER_MARK, onread } as unknown as net.TcpNetConnectOpts);
  socket.pause();
  adoptable.set(socket, reader);
  return socket;
}

/** Where a socket keeps what its option `onread` said, by the names of the symbols. */
const ONREAD_KEYS = ['kBuffer', 'kBufferCb', 'kBufferGen'] as const;
let onreadKeys: [symbol, symbol, symbol] | undefined;

/** The symbols, which are the same for all sockets. Undefined where Node keeps that elsewhere. */
function keysOf(socket: net.Socket): [symbol, symbol, symbol] | undefined {
  if (onreadKeys !== undefined) return onreadKeys;
  const own = Object.getOwnPropertySymbols(socket);
  const keys = ONREAD_KEYS.map((name) => own.find(({ description }) => description === name));
  if (!keys.includes(undefined)) onreadKeys = keys as [symbol, symbol, symbol];
  return onreadKeys;
}

/** A socket goes on as it is, as if it had been made with `onread`; its bytes so far are handed out. */
function adoptInPlace(socket: net.Socket, { buffer, callback }: OnRead): Adopted | undefined {
  const keys = keysOf(socket);
  const handle = (socket as unknown as Internals)._handle;
  if (keys === undefined || typeof handle?.useUserBuffer !== 'function') return undefined;
  socket.setTimeout(0);
  if (!socket.isPaused()) socket.pause();
  const head = drain(socket);
  const first = buffer() ?? NOWHERE;
  const fields = socket as unknown as Record<symbol, unknown>;
  fields[keys[0]] = first;
  fields[keys[1]] = callback;
  fields[keys[2]] = buffer;
  handle.useUserBuffer(first);
  if (handle.reading !== false) socket.pause(); // now it stops the handle as well
  return { socket, head };
}

/** Accepted by a bare `net.Server`: nobody but us has anything to do with it. Its end, once seen, is not to be seen again. */
function isBare({ _server, _readableState }: Internals): boolean {
  return _server !== null && !_readableState.ended && !(HTTP_SERVER in (_server as object));
}
const HTTP_SERVER = 'httpAllowHalfOpen';

/** The same object goes on, for its new owner alone. */
function adoptAsItIs(socket: net.Socket, reader: { to?: OnRead }, onread: OnRead): Adopted {
  adoptable.delete(socket);
  reader.to = onread;
  (socket as unknown as Internals)._handle?.useUserBuffer?.(onread.buffer() ?? NOWHERE);
  return { socket, head: NOTHING };
}

const NOTHING = Buffer.alloc(0);

/**
 * Takes over the handle of a socket, so that it reads straight into our buffers: `net.Server` and `http.Server` have no
 * `onread` option. The old object is dead afterwards, unless it is one of `connectAdoptable` or was accepted by a bare `net.Server`,
 * which goes on counting it or the new one.
 *
 * @param onRecord In place of `onread` for a TLS socket, which is kept: each read is one record, and some may come after it was told
 *   to stop. Its buffer must never be empty.
 * @returns Undefined for a socket whose bytes do not come straight from a handle (tunnels in user space): use it by its events.
 * @throws CulvertError `peer_reset` when the socket is already destroyed.
 */
export function adopt(old: net.Socket, onread: OnRead, onRecord?: OnRead): Adopted | undefined {
  const from = old as unknown as Internals;
  if (old.destroyed || old.errored !== null) {
    throw new CulvertError('peer_reset', 'the socket was already gone', { cause: old.errored ?? undefined });
  }
  if ('encrypted' in old) return onRecord === undefined ? undefined : adoptInPlace(old, onRecord);
  const handle = from._handle;
  const raw = old instanceof net.Socket && typeof handle?.useUserBuffer === 'function';
  if (!raw || old.writableLength > 0) return undefined;
  const reader = adoptable.get(old);
  if (reader !== undefined) return adoptAsItIs(old, reader, onread);
  const inPlace = isBare(from) ? adoptInPlace(old, onread) : undefined;
  if (inPlace !== undefined) return inPlace;
  const head = drain(old);
  const options = { handle, allowHalfOpen: true, pauseOnCreate: true, highWaterMark: HIGH_WATER_MARK, onread };
  const socket = new net.Socket(options as unknown as net.SocketConstructorOpts);
  const to = socket as unknown as Internals;
  to._server = from._server;
  to.server = from.server;
  from._server = null;
  from._handle = null;
  old.setTimeout(0);
  old.removeAllListeners();
  old.on('error', () => {});
  old.destroy();
  return { socket, head };
}

/** What a socket has read into its own buffer before it was handed over. */
export function drain(socket: net.Socket): Buffer {
  let read: Buffer = NOTHING;
  while (socket.readableLength > 0) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) break;
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
  }
  return read;
}

/**
 * Bytes the kernel has taken from this socket so far: moves while a large write is only partly done, which
 * `writableLength` does not show. Over TLS it moves in steps of up to 160 KiB.
 */
export function bytesTaken(socket: net.Socket): number {
  if (socket instanceof InlineStream) return socket.bytesTaken;
  const handle = (socket as unknown as Internals)._handle;
  return (handle?.bytesWritten ?? 0) - (handle?.writeQueueSize ?? 0);
}

/**
 * Ends a socket so that its peer sees a reset, not an orderly end. Sockets that are no plain TCP are destroyed.
 *
 * While FIN is being sent, libuv refuses a reset, and Node then loses the handle: no 'close', and a descriptor that stays open
 * for ever. So that is waited for: it takes one turn, since nothing is left to be written.
 */
export function reset(socket: net.Socket): void {
  if (socket.destroyed) return;
  if ('encrypted' in socket || !(socket instanceof net.Socket)) {
    (socket as net.Socket).destroy();
    return;
  }
  if (socket.writableEnded && !socket.writableFinished && socket.writableLength === 0) {
    socket.once('finish', () => reset(socket));
    return;
  }
  try {
    socket.resetAndDestroy();
  } catch {
    socket.destroy(); // a Unix socket: there is no reset
  }
}
