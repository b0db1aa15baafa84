import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { type Setting, setting } from './config.ts';
import type { Logger } from './log.ts';

/** Settings of a service that ends TLS itself: PEM files, the chain with the leaf first. */
export function tlsFiles(): Record<'CULVERT_TLS_CERT_FILE' | 'CULVERT_TLS_KEY_FILE', Setting<string> & { fallback: string }> {
  return {
    CULVERT_TLS_CERT_FILE: { read: setting.text(), fallback: '' },
    CULVERT_TLS_KEY_FILE: { read: setting.text(), fallback: '' },
  };
}

interface TlsFiles {
  CULVERT_TLS_CERT_FILE: string;
  CULVERT_TLS_KEY_FILE: string;
}

/** What is wrong with them, for the check of a service's settings. */
export function faultsOfTlsFiles({ CULVERT_TLS_CERT_FILE: cert, CULVERT_TLS_KEY_FILE: key }: TlsFiles): string[] {
  return (cert === '') === (key === '')
    ? []
    : ['CULVERT_TLS_CERT_FILE and CULVERT_TLS_KEY_FILE go together; expected both or none'];
}

/** A server whose certificate can be changed while it serves, as those of `node:tls` and `node:https`. */
interface TlsServer {
  setSecureContext(files: { cert: Buffer; key: Buffer }): void;
}

/** The certificate of a server, from files that somebody renews. */
export class ServedCertificate {
  readonly #files: TlsFiles;
  readonly #log: Logger;
  #pair: { cert: Buffer; key: Buffer };
  #seen: string;
  #timer: NodeJS.Timeout | undefined;

  /** @throws Error that names the file that cannot be read, or says that the two do not belong together. */
  constructor(files: TlsFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
    this.#seen = this.#stamp();
    this.#pair = this.#read();
  }

  get pair(): { cert: Buffer; key: Buffer } {
    return this.#pair;
  }

  /**
   * Gives the server what the files have become, as soon as both fit together; until then it serves with the former ones. So who
   * renews them need not restart it.
   */
  follow(server: TlsServer, lookMs: number): void {
    this.#timer = setInterval(() => {
      const stamp = this.#stamp();
      if (stamp === this.#seen) return;
      try {
        this.#pair = this.#read();
        server.setSecureContext(this.#pair);
        this.#seen = stamp;
        this.#log.info({ event: 'certificate.renewed', file: this.#files.CULVERT_TLS_CERT_FILE });
      } catch (err) {
        this.#log.warn({ event: 'certificate.unusable', err }); // again at the next look: it may be half written
      }
    }, lookMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #read(): { cert: Buffer; key: Buffer } {
    const { CULVERT_TLS_CERT_FILE: certificate, CULVERT_TLS_KEY_FILE: key } = this.#files;
    const pair = { cert: contentOf('CULVERT_TLS_CERT_FILE', certificate), key: contentOf('CULVERT_TLS_KEY_FILE', key) };
    try {
      createSecureContext(pair);
    } catch (cause) {
      const why = `${certificate} and ${key} are no certificate and its key: ${(cause as Error).message}`;
      throw new Error(why, { cause });
    }
    return pair;
  }

  /** Changes with either file; links are followed, since a mounted secret is changed by changing a link. */
  #stamp(): string {
    const { CULVERT_TLS_CERT_FILE, CULVERT_TLS_KEY_FILE } = this.#files;
    return [CULVERT_TLS_CERT_FILE, CULVERT_TLS_KEY_FILE].map(stampOf).join();
  }
}

/** Empty for what cannot be looked at: to read it says why. */
function stampOf(path: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(path);
    return `${ino}:${mtimeMs}:${size}`;
  } catch {
    return '';
  }
}

function contentOf(name: keyof TlsFiles, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new Error(`${name}=${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}
