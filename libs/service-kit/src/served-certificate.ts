import { X509Certificate } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { createSecureContext } from 'node:tls';
import { Gauge, type Registry } from 'prom-client';
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

/** A certificate and its key as they were read, and the last moment at which the certificate (the chain's leaf) is in force. */
interface Pair {
  cert: Buffer;
  key: Buffer;
  endsAt: Date;
}

/** The certificate of a server, from files that somebody renews. One that is over is served all the same, with a warning. */
export class ServedCertificate {
  readonly #files: TlsFiles;
  readonly #log: Logger;
  #pair: Pair;
  #seen: string;
  #timer: NodeJS.Timeout | undefined;

  /** @throws Error that names the file that cannot be read, or says that the two do not belong together. */
  constructor(files: TlsFiles, log: Logger) {
    this.#files = files;
    this.#log = log;
    this.#seen = this.#stamp();
    this.#pair = this.#read();
    this.#warnIfOver();
  }

  get pair(): { cert: Buffer; key: Buffer } {
    return { cert: this.#pair.cert, key: this.#pair.key };
  }

  /** Of the certificate that is served now. */
  get endsAt(): Date {
    return this.#pair.endsAt;
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
        const { cert, key, endsAt } = this.#read();
        server.setSecureContext({ cert, key });
        this.#pair = { cert, key, endsAt };
        this.#seen = stamp;
        this.#log.info({ event: 'certificate.renewed', file: this.#files.CULVERT_TLS_CERT_FILE, ends: endsAt.toISOString() });
        this.#warnIfOver();
      } catch (err) {
        this.#log.warn({ event: 'certificate.unusable', err }); // again at the next look: it may be half written
      }
    }, lookMs).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #warnIfOver(): void {
    if (this.endsAt.getTime() > Date.now()) return;
    const file = this.#files.CULVERT_TLS_CERT_FILE;
    this.#log.warn({ event: 'certificate.expired', file, ends: this.endsAt.toISOString() });
  }

  #read(): Pair {
    const { CULVERT_TLS_CERT_FILE: certificate, CULVERT_TLS_KEY_FILE: key } = this.#files;
    const pair = { cert: contentOf('CULVERT_TLS_CERT_FILE', certificate), key: contentOf('CULVERT_TLS_KEY_FILE', key) };
    try {
      createSecureContext(pair);
      return { ...pair, endsAt: new X509Certificate(pair.cert).validToDate };
    } catch (cause) {
      const why = `${certificate} and ${key} are no certificate and its key: ${(cause as Error).message}`;
      throw new Error(why, { cause });
    }
  }

  /** Changes with either file; links are followed, since a mounted secret is changed by changing a link. */
  #stamp(): string {
    const { CULVERT_TLS_CERT_FILE, CULVERT_TLS_KEY_FILE } = this.#files;
    return [CULVERT_TLS_CERT_FILE, CULVERT_TLS_KEY_FILE].map(stampOf).join();
  }
}

/** Who is shown the certificate: devices at the published port of a listener, or users of the API. */
export type CertificateUse = 'transfers' | 'api';

/** Tells alerts when the certificate ends; after a renewal, when the new one does. The edge has the same metric. */
export function watchCertificate(registry: Registry, use: CertificateUse, certificate: Pick<ServedCertificate, 'endsAt'>): void {
  new Gauge({
    name: 'culvert_certificate_expires_timestamp_seconds',
    help: 'When the certificate that is served ends, in seconds since 1970, by who is shown it',
    labelNames: ['use', 'source'],
    registers: [registry],
    collect() {
      this.set({ use, source: 'files' }, certificate.endsAt.getTime() / 1000);
    },
  });
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
