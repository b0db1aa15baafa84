import { createRequire } from 'node:module';
import type net from 'node:net';

// From the headers of the C library and of Linux: the same on every Linux that Node runs on.
export const O_NONBLOCK = 0o4_000;
export const O_CLOEXEC = 0o2_000_000;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const SPLICE_F_MOVE = 1;
export const SPLICE_F_NONBLOCK = 2;
export const MSG_PEEK = 2;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_MORE = 0x8000;
export const SOL_SOCKET = 1;
export const SO_LINGER = 13;
export const TCP_INFO = 11;
export const POLLIN = 1;
export const POLLOUT = 4;
export const EINTR = 4;
export const EAGAIN = 11;
/** What splice(2) says where it is not to be had: EPERM, EINVAL, ENOSYS, EOPNOTSUPP. */
export const UNABLE: readonly number[] = [1, 22, 38, 95];

/** What is called of the C library. Negative results say that a call failed, and `errno` why. */
export interface Libc {
  pipe2(ends: number[], flags: number): number;
  fcntl(fd: number, command: number, value: number): number;
  eventfd(value: number, flags: number): number;
  splice(from: number, fromAt: null, to: number, toAt: null, length: number, flags: number): number;
  read(fd: number, into: Uint8Array, length: number): number;
  write(fd: number, bytes: Uint8Array, length: number): number;
  recv(fd: number, into: Uint8Array, length: number, flags: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  /** @param length In: what `into` holds; out: what was put there; 32 bits. */
  getsockopt(fd: number, level: number, name: number, into: Uint8Array, length: Uint8Array): number;
  /** @param timeout `struct timespec`; @param signals None. */
  ppoll(fds: Uint8Array, count: number, timeout: BigInt64Array, signals: null): number;
  close(fd: number): number;
  errno(): number;
}

let loaded: Libc | undefined;
let sought = false;

/** By `koffi`, an optional dependency: undefined where it is not installed, or the system is no Linux. */
export function loadLibc(): Libc | undefined {
  if (!sought) loaded = load();
  sought = true;
  return loaded;
}

function load(): Libc | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const libc = koffi.load(null);
    return {
      pipe2: libc.func('int pipe2(_Out_ int *, int)'),
      fcntl: libc.func('int fcntl(int, int, int)'),
      eventfd: libc.func('int eventfd(unsigned int, int)'),
      splice: libc.func('long splice(int, void *, int, void *, size_t, unsigned int)'),
      read: libc.func('long read(int, void *, size_t)'),
      write: libc.func('long write(int, void *, size_t)'),
      recv: libc.func('long recv(int, void *, size_t, int)'),
      send: libc.func('long send(int, void *, size_t, int)'),
      setsockopt: libc.func('int setsockopt(int, int, int, void *, unsigned int)'),
      getsockopt: libc.func('int getsockopt(int, int, int, void *, void *)'),
      ppoll: libc.func('int ppoll(void *, unsigned long, void *, void *)'),
      close: libc.func('int close(int)'),
      errno: () => koffi.errno(),
    };
  } catch {
    return undefined;
  }
}

/** The descriptor of a TCP socket as it comes from the system; -1 for one that is closed, encrypted or in user space. */
export function descriptorOf(socket: net.Socket): number {
  return 'encrypted' in socket ? -1 : tcpDescriptorOf(socket);
}

/** The same, and where TLS is on it that of the socket beneath: to ask it something, for its bytes are those of TLS. */
export function tcpDescriptorOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd?: number } | null })._handle?.fd ?? -1;
}
