import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Say what a leaked string is, so that scanners find it: a device's, an operator's, a login's, a grant's, an enrolment key. */
export const DEVICE_TOKEN_PREFIX = 'cvd_';
export const OPERATOR_TOKEN_PREFIX = 'cvo_';
export const LOGIN_TOKEN_PREFIX = 'cvl_';
export const GRANT_TOKEN_PREFIX = 'cvg_';
export const ENROLMENT_KEY_PREFIX = 'cve_';

const checksumOf = (text: string): string => crc32(text).toString(36).padStart(7, '0');

function create(prefix: string): string {
  const text = prefix + randomBytes(32).toString('base64url');
  return `${text}_${checksumOf(text)}`;
}

/** Prefix, whose token it is where that stands in it, 256 random bits, checksum. */
const FORM = /^((cvd_|cvl_|cvg_|(cvo|cve)_([a-z0-9][a-z0-9-]{0,62})\.)[A-Za-z0-9_-]{43})_([0-9a-z]{7})$/;

function parse(prefix: string, token: string): { owner: string } | undefined {
  const match = FORM.exec(token);
  if (match === null || !token.startsWith(prefix) || checksumOf(match[1] as string) !== match[5]) return undefined;
  return { owner: match[4] ?? '' };
}

/** `cvd_` + 43 characters of 256 random bits + `_` + a 7-character checksum, which tells a mistyped token apart. */
export const createDeviceToken = (): string => create(DEVICE_TOKEN_PREFIX);

/** True when prefix, length and checksum fit; says nothing about whether any device has the token. */
export const isWellFormedToken = (token: string): boolean => parse(DEVICE_TOKEN_PREFIX, token) !== undefined;

/** `cvo_<name>.` + 43 random characters + `_` + checksum: found leaked, it says whose it is. */
export const createOperatorToken = (operator: string): string => create(`${OPERATOR_TOKEN_PREFIX}${operator}.`);

/** The operator that the token names; undefined when prefix, length or checksum do not fit. */
export const operatorOfToken = (token: string): string | undefined => parse(OPERATOR_TOKEN_PREFIX, token)?.owner;

/** `cve_<id>.` + 43 random characters + `_` + checksum. */
export const createEnrolmentKey = (id: string): string => create(`${ENROLMENT_KEY_PREFIX}${id}.`);

/** The id of the enrolment key; undefined when prefix, length or checksum do not fit. */
export const idOfEnrolmentKey = (key: string): string | undefined => parse(ENROLMENT_KEY_PREFIX, key)?.owner;

/** What the cookie of a login holds. */
export const createLoginToken = (): string => create(LOGIN_TOKEN_PREFIX);
export const isLoginToken = (token: string): boolean => parse(LOGIN_TOKEN_PREFIX, token) !== undefined;

/** What the link of a grant holds; the edge looks it up by its digest. */
export const createGrantToken = (): string => create(GRANT_TOKEN_PREFIX);

/** Hex SHA-256: all that is ever stored of a token. */
export function digestOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Compares two digests in a time that does not depend on how much of them is the same. */
export function sameDigest(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
