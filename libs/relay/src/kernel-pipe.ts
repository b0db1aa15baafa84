import { createRequire } from 'node:module';
import type net from 'node:net';
import { write } from './write.ts';

/** From `fcntl.h`, `bits/socket.h` and `asm-generic/errno.h`: the same on every Linux that Node runs on. */
const O_NONBLOCK = 0o4_000;
const O_CLOEXEC = 0o2_000_000;
const F_SETPIPE_SZ = 1031;
const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const MSG_MORE = 0x8000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const EAGAIN = 11;
const EINTR = 4;
/** What splice(2) says where it is not to be had: EPERM, EINVAL, ENOSYS, EOPNOTSUPP. */
const UNABLE: readonly number[] = [1, 22, 38, 95];

/** The most that Linux gives a process without privileges (`fs.pipe-max-size`): it bounds how many pieces of what came the pipe refers to. */
const PIPE_BYTES = 1 << 20;

/** What is called of libc. */
export interface System {
  pipe2(ends: number[], flags: number): number;
  fcntl(fd: number, command: number, value: number): number;
  splice(from: number, fromAt: null, to: number, toAt: null, length: number, flags: number): number;
  read(fd: number, into: Uint8Array, length: number): number;
  send(fd: number, bytes: Uint8Array, length: number, flags: number): number;
  close(fd: number): number;
  errno(): number;
}

/** By `koffi`, an optional dependency, where it is installed and the system is Linux. */
function loadSystem(): System | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    const libc = koffi.load(null);
    return {
      pipe2: libc.func('int pipe2(_Out_ int *, int)'),
      fcntl: libc.func('int fcntl(int, int, int)'),
      splice: libc.func('long splice(int, void *, int, void *, size_t, unsigned int)'),
      read: libc.func('long read(int, void *, size_t)'),
      send: libc.func('long send(int, void *, size_t, int)'),
      close: libc.func('int close(int)'),
      errno: () => koffi.errno(),
    };
  } catch {
    return undefined;
  }
}

/**
 * Moves bytes from one TCP socket to another within the kernel, by splice(2): they are not copied, and cost less than half of
 * what read(2) and write(2) take. Nothing stays in the pipe from one call to the next, so that one serves all transfers:
 *
 *   empty --fill()--> what a socket had for us --forward()--> empty (what the sink does not take is read, and written by Node)
 */
export class KernelPipe {
  /** False once this system has turned out not to do it, whatever the sockets. */
  able = true;
  /** Bytes that went this way so far, those that had to be read in the end included. */
  moved = 0;
  readonly #system: System;
  readonly #out: number;
  readonly #in: number;
  /** Bytes in the pipe. */
  #held = 0;

  private constructor(system: System, [out, into]: [number, number]) {
    this.#system = system;
    this.#out = out;
    this.#in = into;
  }

  /** Undefined where there is none. */
  static open(system: System | undefined = loadSystem()): KernelPipe | undefined {
    const ends: [number, number] = [-1, -1];
    if (system === undefined || system.pipe2(ends, O_NONBLOCK | O_CLOEXEC) !== 0) return undefined;
    system.fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); // where that is refused it holds less
    return new KernelPipe(system, ends);
  }

  /**
   * Takes up to `most` bytes that are there to be read. A fault of the socket, which its own reader would not hear of any more,
   * destroys it.
   *
   * @returns How many bytes `forward` will send.
   */
  fill(source: net.Socket, most: number): number {
    const fd = fdOf(source);
    if (fd < 0 || most <= 0 || !this.able) return 0;
    const count = this.#system.splice(fd, null, this.#in, null, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count >= 0) {
      this.#held += count;
      this.moved += count;
      return count;
    }
    const errno = this.#system.errno();
    if (errno === EAGAIN || errno === EINTR) return 0;
    if (UNABLE.includes(errno)) this.able = false;
    else source.destroy(new Error(`a read by splice(2) failed: errno ${errno}`));
    return 0;
  }

  /**
   * Sends `bytes[from..to)` and what is in the pipe behind it. What the sink does not take is read to `bytes[to..)`, which must have the
   * room, and written by Node: `bytes` belong to the write until `flushed`.
   */
  forward(sink: net.Socket, bytes: Buffer, from: number, to: number, flushed: () => void): void {
    const fd = sink.writableLength === 0 ? fdOf(sink) : -1;
    let start = from;
    if (fd >= 0 && start < to) {
      const flags = MSG_DONTWAIT | MSG_NOSIGNAL | (this.#held > 0 ? MSG_MORE : 0);
      start += Math.max(0, this.#system.send(fd, bytes.subarray(from, to), to - from, flags));
    }
    while (fd >= 0 && start === to && this.#held > 0) {
      const count = this.#system.splice(this.#out, null, fd, null, this.#held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
      if (count <= 0) break; // full, or gone: Node will see which
      this.#held -= count;
    }
    const end = to + this.#read(bytes, to);
    if (this.#held > 0) this.#spoilt(sink);
    else if (start < end && !sink.destroyed) write(sink, bytes.subarray(start, end), flushed);
  }

  close(): void {
    this.#system.close(this.#in);
    this.#system.close(this.#out);
  }

  /** Reads all that is left. */
  #read(bytes: Buffer, at: number): number {
    let count = 0;
    while (this.#held > 0) {
      const room = bytes.subarray(at + count, at + count + this.#held);
      const more = this.#system.read(this.#out, room, room.length);
      if (more <= 0) break;
      count += more;
      this.#held -= more;
    }
    return count;
  }

  /** The pipe does not give what it took: its visitor ends, and nobody else may find these bytes. */
  #spoilt(sink: net.Socket): void {
    this.able = false;
    this.#held = 0;
    this.close();
    sink.destroy(new Error('a pipe of the kernel did not give back what it took'));
  }
}

let shared: KernelPipe | undefined;
let sought = false;

/** That of this thread; undefined where bytes must be read and written: no Linux, no `koffi`, a sandbox without splice(2). */
export function kernelPipe(): KernelPipe | undefined {
  if (!sought) shared = KernelPipe.open();
  sought = true;
  return shared?.able === true ? shared : undefined;
}

/** Bytes that this thread has moved within the kernel so far; 0 where it cannot. */
export function bytesInKernel(): number {
  return shared?.moved ?? 0;
}

/** Whether splice(2) can be used on a socket: only TCP as it comes from the system, nothing encrypted or in user space. */
export function isKernelSocket(socket: net.Socket): boolean {
  return !('encrypted' in socket) && fdOf(socket) >= 0;
}

/** -1 for a socket that is closed or is no TCP socket of the system. */
function fdOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd?: number } | null })._handle?.fd ?? -1;
}
