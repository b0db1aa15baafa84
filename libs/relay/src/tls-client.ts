import { createHash, X509Certificate } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import type { TlsSessions } from './tls-sessions.ts';

/** `sha256/` and the base64 of a SHA-256 digest: what curl calls a pinned public key. */
const PIN = /^sha256\/[A-Za-z0-9+/]{43}=$/;
const PIN_MISMATCH = 'ERR_CULVERT_PIN';

/** Says what is wrong with a pin; undefined when nothing is. */
export function faultOfPin(pin: string): string | undefined {
  return PIN.test(pin)
    ? undefined
    : `pin ${JSON.stringify(pin.slice(0, 80))} is none; expected sha256/ and 44 characters of base64`;
}

/** The pin of a certificate: the digest of its public key (SPKI), which may outlive the certificate. */
export function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
  return `sha256/${createHash('sha256').update(spki).digest('base64')}`;
}

/** What a server is held to besides a verified certificate, and what is known of it. */
export interface TlsTrust {
  /** Its key must be one of these: `sha256/<base64>`. */
  pins?: readonly string[] | undefined;
  /** Of servers that were held to the same. */
  sessions?: TlsSessions | undefined;
}

/**
 * Begins TLS on a connected socket. The certificate is verified always, whatever NODE_TLS_REJECT_UNAUTHORIZED says, and pins with
 * it; but not where a session is resumed whose server proved both.
 *
 * @param address What sessions are known by: host and port.
 */
export function beginTls(
  socket: net.Socket,
  host: string,
  options: tls.ConnectionOptions,
  { pins, sessions }: TlsTrust,
  address: string,
): tls.TLSSocket {
  const known = sessions?.of(address);
  const secure = tls.connect({
    ALPNProtocols: ['http/1.1'],
    ...(net.isIP(host) === 0 ? { servername: host } : {}),
    ...options,
    ...(known === undefined ? {} : { session: known.session }),
    rejectUnauthorized: true,
    checkServerIdentity: (name, certificate) =>
      tls.checkServerIdentity(name, certificate) ?? (pins === undefined ? undefined : faultOfKey(certificate.raw, pins)),
    socket,
  });
  if (sessions !== undefined) follow(secure, sessions, address, known?.verifiedAt);
  return secure;
}

/** Keeps the first session that the server hands out, once it is known that it is the right server. */
function follow(secure: tls.TLSSocket, sessions: TlsSessions, address: string, verifiedAt: number | undefined): void {
  let early: Buffer | undefined;
  let since: number | undefined;
  const keep = (session: Buffer): void => {
    if (since === undefined) early = session;
    else sessions.keep(address, session, since);
  };
  secure.once('session', keep);
  secure.once('secureConnect', () => {
    since = verifiedAt !== undefined && secure.isSessionReused() ? verifiedAt : performance.now();
    if (early !== undefined) keep(early);
  });
  if (verifiedAt !== undefined) secure.once('error', () => since === undefined && sessions.forget(address));
}

function faultOfKey(raw: Buffer, pins: readonly string[]): Error | undefined {
  const found = pinOf(new X509Certificate(raw));
  if (pins.includes(found)) return undefined;
  const fault = new Error(`its key is ${found}, pinned is ${pins.join(' or ')}`);
  return Object.assign(fault, { code: PIN_MISMATCH });
}

const UNKNOWN_AUTHORITY =
  'has a certificate of an authority that is not trusted here; if it is the right server, trust its authority: --ca-file FILE (PEM)';

const FAULTS: Readonly<Record<string, string>> = {
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `${UNKNOWN_AUTHORITY}; or the server sends its chain without the certificates in between`,
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'has a certificate that it signed itself; if it is the right server, trust that very certificate: --ca-file FILE (PEM)',
  CERT_UNTRUSTED: UNKNOWN_AUTHORITY,
  INVALID_CA: 'has a certificate signed by one that is no authority',
  CERT_REVOKED: 'has a certificate that was revoked',
  [PIN_MISMATCH]: 'has a verified certificate, but not the pinned key; if its key was changed on purpose, give the new pin',
};

/** What is wrong with the server's TLS, and what would be right; undefined when the error is none of TLS. */
export function faultOfTls(error: unknown, host: string): string | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return undefined;
  const clock = `this machine's clock says ${new Date().toISOString()}`;
  if (code === 'CERT_HAS_EXPIRED') return `has a certificate that has expired (${clock}); renew it on the server`;
  if (code === 'CERT_NOT_YET_VALID') return `has a certificate that is not valid yet (${clock}); set the clock of this machine`;
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    return `has a certificate for other names than ${host}; use one of its names, or give it one for this: ${message}`;
  }
  if (code === PIN_MISMATCH) return `${FAULTS[code]} (${message})`;
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return 'does not speak TLS at this port; expected an https or wss port, or http:// where TLS is not wanted';
  }
  return FAULTS[code];
}
