import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { CulvertError } from '@culvert/contracts';

/** A certificate that a browser would take for the host, as far as that can be told without knowing its authorities. */
export interface CheckedCertificate {
  /** PEM, leaf first, nothing else in it. */
  chain: string;
  /** PEM. */
  key: string;
  /** When the first of the chain runs out, milliseconds since 1970. */
  not_after: number;
  /** SHA-256 of the leaf, hex. */
  fingerprint: string;
}

const MOST_CERTIFICATES = 8;
const PEM = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;
const CURVES = new Set(['prime256v1', 'secp384r1']);

const refuse = (text: string): never => {
  throw new CulvertError('bad_request', text);
};

/** @throws CulvertError `bad_request` that says what is wrong; nothing of the key is in it. */
export function checkCertificate(host: string, chainPem: string, keyPem: string, now = Date.now()): CheckedCertificate {
  const texts =
    chainPem.match(PEM) ?? refuse('certificate has no "-----BEGIN CERTIFICATE-----"; expected a chain in PEM, leaf first');
  if (texts.length > MOST_CERTIFICATES)
    refuse(`certificate is a chain of ${texts.length}; expected at most ${MOST_CERTIFICATES}`);
  const chain = texts.map(parseCertificate);
  const [leaf] = chain;
  if (leaf === undefined) throw new CulvertError('internal');
  const key = parseKey(keyPem);
  if (!leaf.checkPrivateKey(key)) {
    const other = chain.findIndex((one) => one.checkPrivateKey(key));
    refuse(
      other > 0
        ? `key is that of certificate ${other + 1} of the chain; expected that one first`
        : 'key does not belong to the first certificate of the chain; expected the key that it was issued for',
    );
  }
  if (leaf.checkHost(host, { subject: 'never' }) === undefined) {
    refuse(`certificate is for ${leaf.subjectAltName ?? 'no name at all'}; expected DNS:${host} among them`);
  }
  chain.forEach((one, i) => {
    const which = i === 0 ? 'certificate' : `certificate ${i + 1} of the chain`;
    if (one.validToDate.getTime() <= now)
      refuse(`${which} has expired on ${one.validToDate.toISOString()}; expected one in force`);
    if (one.validFromDate.getTime() > now) refuse(`${which} is not valid before ${one.validFromDate.toISOString()}`);
    const issuer = chain[i + 1];
    if (issuer !== undefined && !(one.checkIssued(issuer) && one.verify(issuer.publicKey))) {
      refuse(`${which} was not issued by the one after it; expected the leaf first, then who issued it, and so on`);
    }
  });
  return {
    chain: `${texts.join('\n')}\n`,
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    not_after: Math.min(...chain.map(({ validToDate }) => validToDate.getTime())),
    fingerprint: leaf.fingerprint256.replaceAll(':', '').toLowerCase(),
  };
}

function parseCertificate(text: string, i: number): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch {
    return refuse(`certificate ${i + 1} of the chain cannot be read; expected PEM as it was issued`);
  }
}

function parseKey(text: string): KeyObject {
  if (/ENCRYPTED/.test(text)) refuse('key is encrypted; expected it without a passphrase');
  let key: KeyObject;
  try {
    key = createPrivateKey(text);
  } catch {
    return refuse('key cannot be read; expected a private key in PEM');
  }
  const { modulusLength = 0, namedCurve = '' } = key.asymmetricKeyDetails ?? {};
  const isTaken =
    key.asymmetricKeyType === 'rsa' ? modulusLength >= 2048 : key.asymmetricKeyType === 'ec' && CURVES.has(namedCurve);
  if (!isTaken)
    refuse('key is of a kind that browsers do not take; expected ECDSA with P-256 or P-384, or RSA with 2048 bits or more');
  return key;
}
