import { execFile } from 'node:child_process';
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { readIfThere } from './files.ts';

const run = promisify(execFile);

/** What `CULVERT_TLS=local` serves with; all are paths. */
export interface LocalTls {
  /** Certificate of the authority: what browsers, curl and agents have to trust. */
  ca: string;
  /** For the domain, all names under it and this machine. */
  certificate: string;
  key: string;
}

const CA_DAYS = 3650;
/** Browsers refuse longer ones. */
const LEAF_DAYS = 397;
const RENEW_BEFORE_MS = 30 * 24 * 3_600_000;
const OPENSSL_MS = 20_000;

/**
 * An authority of this stack's own (made once) and a certificate by it (made anew when it is about to run out, or does not
 * fit the domain). All keys are ECDSA P-256 and stay in `dir`, mode 0600. The authority can only vouch for the domain and
 * for this machine: who steals its key cannot pose as anybody else to those who trust it.
 *
 * @throws Error that says what openssl said.
 */
export async function ensureLocalTls(openssl: string, dir: string, domain: string): Promise<LocalTls> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const authority = { ca: join(dir, 'ca.pem'), caKey: join(dir, 'ca.key') };
  const leaf = { certificate: join(dir, 'edge.pem'), key: join(dir, 'edge.key') };
  const fitting = fits(authority.ca, authority.caKey, (found) => found.subject.endsWith(markOf(domain)));
  if (!fitting) await makeAuthority(openssl, authority, domain);
  const issuer = new X509Certificate(readIfThere(authority.ca) ?? '');
  const names = [domain, `*.${domain}`, 'localhost'];
  const current =
    fitting && fits(leaf.certificate, leaf.key, (found) => names.every((name) => found.subjectAltName?.includes(`DNS:${name}`)))
      ? readIfThere(leaf.certificate)
      : undefined;
  if (current === undefined || !new X509Certificate(current).checkIssued(issuer)) {
    await issueCertificate(openssl, authority, leaf, [...names.map((name) => `DNS:${name}`), 'IP:127.0.0.1', 'IP:::1']);
  }
  return { ca: authority.ca, ...leaf };
}

/** Is it there, with its key, good for some time, and what we want? */
function fits(certificate: string, key: string, wanted: (found: X509Certificate) => boolean | undefined): boolean {
  const text = readIfThere(certificate);
  if (text === undefined || !existsSync(key)) return false;
  const found = new X509Certificate(text);
  return found.validToDate.getTime() - Date.now() >= RENEW_BEFORE_MS && wanted(found) === true;
}

/** Stands for the domain in the authority's name, which may have 64 characters only. */
const markOf = (domain: string): string => createHash('sha256').update(domain).digest('hex').slice(0, 16);

/** @param files Where the authority's certificate and key go. */
export async function makeAuthority(openssl: string, files: { ca: string; caKey: string }, domain: string): Promise<void> {
  const permitted = [
    `permitted;DNS:${domain}`,
    'permitted;DNS:localhost',
    'permitted;IP:127.0.0.0/255.0.0.0',
    'permitted;IP:0:0:0:0:0:0:0:1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ];
  // The random part keeps browsers from mixing up the authorities of two stacks.
  const subject = `/O=Culvert/CN=Culvert local CA ${randomBytes(4).toString('hex')} ${markOf(domain)}`;
  await call(openssl, [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-sha256'],
    ...['-keyout', files.caKey, '-out', files.ca, '-days', String(CA_DAYS), '-subj', subject],
    ...['-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-addext', `nameConstraints=critical,${permitted.join(',')}`],
  ]);
  chmodSync(files.caKey, 0o600);
}

/** @param names As openssl takes them in subjectAltName, such as DNS:example.com or IP:127.0.0.1. */
export async function issueCertificate(
  openssl: string,
  authority: { ca: string; caKey: string },
  leaf: { certificate: string; key: string },
  names: readonly string[],
  days: number = LEAF_DAYS,
): Promise<void> {
  const extensions = `${leaf.certificate}.ext`;
  const request = `${leaf.certificate}.csr`;
  const lines = [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature',
    'extendedKeyUsage=serverAuth',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
    `subjectAltName=${names.join(',')}`,
  ];
  writeFileSync(extensions, `${lines.join('\n')}\n`, { mode: 0o600 });
  try {
    await call(openssl, [
      ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-sha256'],
      ...['-keyout', leaf.key, '-out', request, '-subj', '/O=Culvert/CN=Culvert'],
    ]);
    chmodSync(leaf.key, 0o600);
    await call(openssl, [
      ...['x509', '-req', '-in', request, '-CA', authority.ca, '-CAkey', authority.caKey, '-sha256'],
      ...['-set_serial', `0x${randomBytes(16).toString('hex')}`, '-days', String(days)],
      ...['-extfile', extensions, '-out', leaf.certificate],
    ]);
  } finally {
    for (const path of [extensions, request]) rmSync(path, { force: true });
  }
}

async function call(openssl: string, args: readonly string[]): Promise<void> {
  try {
    await run(openssl, [...args], { timeout: OPENSSL_MS });
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim() ?? '';
    throw new Error(`openssl ${args[0]} failed: ${said === '' ? (cause as Error).message : said}`, { cause });
  }
}
