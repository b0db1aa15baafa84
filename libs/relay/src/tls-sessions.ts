/** Each is about 2 KiB. */
const KEPT = 32;

interface Kept {
  session: Buffer;
  /** When the certificate was verified that it goes back to, in milliseconds of `performance.now()`. */
  verifiedAt: number;
}

/**
 * TLS sessions of servers whose certificates were verified: who dials one again resumes, without signature and certificate. One
 * store serves one trust only (authorities and pins), and is forgotten with it: what is resumed is not verified again.
 */
export class TlsSessions {
  readonly #kept = new Map<string, Kept>();
  readonly #verifiedMs: number;

  /** @param verifiedMs How long a session goes on without a look at the certificate, in milliseconds. */
  constructor(verifiedMs: number) {
    this.#verifiedMs = verifiedMs;
  }

  /** The last one of this address; undefined when a full handshake is due. */
  of(address: string): Readonly<Kept> | undefined {
    const kept = this.#kept.get(address);
    if (kept === undefined || performance.now() - kept.verifiedAt < this.#verifiedMs) return kept;
    this.#kept.delete(address);
    return undefined;
  }

  keep(address: string, session: Buffer, verifiedAt: number): void {
    this.#kept.delete(address);
    this.#kept.set(address, { session, verifiedAt });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT) break;
      this.#kept.delete(oldest);
    }
  }

  /** A connection that resumed did not come about: the next one begins anew. */
  forget(address: string): void {
    this.#kept.delete(address);
  }
}
