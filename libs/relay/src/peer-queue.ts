import { type Libc, TCP_INFO } from './libc.ts';

const IPPROTO_TCP = 6;
/** Linux' `struct tcp_info`: what waits in our kernel, `tcpi_notsent_bytes`, is there since 4.6. */
const UNSENT_AT = 144;
/** The window that the peer offers, `tcpi_snd_wnd`, is there since 5.4. */
const WINDOW_AT = 228;
const INFO_BYTES = WINDOW_AT + 4;
/** As much unsent: the window is closed, or the network is what is slow. */
const UNSENT_BYTES = 128 << 10;
/** So many looks in a row at a peer that is behind: its window is what is narrow, not its queue what is long. */
const LOOKS = 32;

let rests = 0;

/** A transfer has rested so often because its peer was behind. */
export function noteRests(count: number): void {
  rests += count;
}

/** Times that bulk of this process, the bulk thread's included, has rested. */
export function bulkRests(): number {
  return rests;
}

const info = Buffer.alloc(INFO_BYTES);
const size = Buffer.alloc(4);

/**
 * How much of what a socket has sent lies in the peer's kernel and was not read by the peer. No system tells that, but the peer's window
 * does: what is not read makes it narrower than it has been.
 *
 * Whoever reads such a queue in one go, as nginx does, lets everybody else wait for as long as that takes: several ms of TLS.
 */
export class PeerQueue {
  readonly #libc: Libc;
  #widest = 0;
  #looks = 0;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /** Are there more bytes than that? No, where the system does not say. */
  exceeds(fd: number, bytes: number): boolean {
    size.writeUInt32LE(INFO_BYTES);
    if (fd < 0 || this.#libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, size) !== 0) return false;
    if (size.readUInt32LE() < INFO_BYTES) return false;
    if (info.readUInt32LE(UNSENT_AT) > UNSENT_BYTES) return true;
    const window = info.readUInt32LE(WINDOW_AT);
    if (window > this.#widest || ++this.#looks > LOOKS) {
      this.#widest = window;
      this.#looks = 0;
    }
    if (this.#widest - window > bytes) return true;
    this.#looks = 0;
    return false;
  }
}
