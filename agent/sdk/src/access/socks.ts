/** SOCKS 5 (RFC 1928), the server's side of CONNECT without authentication; no I/O. */

/** Reply codes of RFC 1928, section 6. */
export const SOCKS_REPLY = {
  ok: 0,
  failed: 1,
  not_allowed: 2,
  network_unreachable: 3,
  host_unreachable: 4,
  refused: 5,
  expired: 6,
  command_unknown: 7,
  address_unknown: 8,
} as const;
export type SocksReply = keyof typeof SOCKS_REPLY;

const VERSION = 5;
const NO_AUTHENTICATION = 0;
const NO_METHOD = 0xff;
const CONNECT = 1;
const IPV4 = 1;
const DOMAIN = 3;
const IPV6 = 4;

export type SocksStep =
  /** More bytes are needed. */
  | { kind: 'more' }
  /** To be sent; then go on with `push(empty)`. */
  | { kind: 'answer'; bytes: Buffer }
  /** The client asks for this; `rest` are bytes that it sent ahead. Addresses are given as text. */
  | { kind: 'connect'; host: string; port: number; rest: Buffer }
  /** To be sent if it is not empty, then closed. */
  | { kind: 'refuse'; bytes: Buffer; fault: string };

/** Reads greeting and request from chunks of any size. Holds at most one of them: 262 bytes, and what comes behind in the same chunk. */
export class SocksParser {
  #state: 'greeting' | 'request' | 'over' = 'greeting';
  #bytes: Buffer = Buffer.alloc(0);

  push(chunk: Buffer): SocksStep {
    if (this.#state === 'over') throw new Error('the SOCKS request is over');
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk]);
    return this.#state === 'greeting' ? this.#greeting() : this.#request();
  }

  #greeting(): SocksStep {
    const [version, count] = this.#bytes;
    if (version === undefined) return { kind: 'more' };
    if (version !== VERSION) return this.#refuse(Buffer.alloc(0), `version ${version}; expected SOCKS 5`);
    if (count === undefined || this.#bytes.length < 2 + count) return { kind: 'more' };
    const methods = this.#bytes.subarray(2, 2 + count);
    this.#bytes = this.#bytes.subarray(2 + count);
    if (!methods.includes(NO_AUTHENTICATION)) {
      return this.#refuse(
        Buffer.of(VERSION, NO_METHOD),
        'the client wants to authenticate; expected that it offers to go without',
      );
    }
    this.#state = 'request';
    return { kind: 'answer', bytes: Buffer.of(VERSION, NO_AUTHENTICATION) };
  }

  #request(): SocksStep {
    const [version, command, reserved, type, length] = this.#bytes;
    if (version !== undefined && version !== VERSION) return this.#refuse(socksReply('failed'), `request of version ${version}`);
    if (command !== undefined && command !== CONNECT) {
      return this.#refuse(socksReply('command_unknown'), `command ${command}; expected CONNECT`);
    }
    if (reserved !== undefined && reserved !== 0) return this.#refuse(socksReply('failed'), 'the reserved byte is not 0');
    if (type !== undefined && type !== IPV4 && type !== DOMAIN && type !== IPV6) {
      return this.#refuse(socksReply('address_unknown'), `address type ${type}; expected 1, 3 or 4`);
    }
    if (type === undefined || length === undefined) return { kind: 'more' };
    const from = type === DOMAIN ? 5 : 4;
    const to = from + (type === IPV4 ? 4 : type === IPV6 ? 16 : length);
    if (this.#bytes.length < to + 2) return { kind: 'more' };
    const address = this.#bytes.subarray(from, to);
    const port = this.#bytes.readUInt16BE(to);
    const rest = this.#bytes.subarray(to + 2);
    this.#state = 'over';
    this.#bytes = Buffer.alloc(0);
    return { kind: 'connect', host: textOf(type, address), port, rest };
  }

  #refuse(bytes: Buffer, fault: string): SocksStep {
    this.#state = 'over';
    this.#bytes = Buffer.alloc(0);
    return { kind: 'refuse', bytes, fault };
  }
}

/** An answer to a request. We have no address of our own to tell: it is given as 0.0.0.0:0. */
export function socksReply(reply: SocksReply): Buffer {
  return Buffer.of(VERSION, SOCKS_REPLY[reply], 0, IPV4, 0, 0, 0, 0, 0, 0);
}

function textOf(type: number, address: Buffer): string {
  if (type === IPV4) return [...address].join('.');
  if (type === DOMAIN) return address.toString('latin1');
  const groups = Array.from({ length: 8 }, (_, at) => address.readUInt16BE(at * 2).toString(16));
  return `[${groups.join(':')}]`;
}
