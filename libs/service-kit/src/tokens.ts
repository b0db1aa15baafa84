import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Says what a leaked string is, so that scanners find it. */
export const DEVICE_TOKEN_PREFIX = 'cvd_';

const checksumOf = (body: string): string =>
  crc32(DEVICE_TOKEN_PREFIX + body)
    .toString(36)
    .padStart(7, '0');

/** `cvd_` + 43 characters of 256 random bits + `_` + a 7-character checksum, which tells a mistyped token apart. */
export function createDeviceToken(): string {
  const body = randomBytes(32).toString('base64url');
  return `${DEVICE_TOKEN_PREFIX}${body}_${checksumOf(body)}`;
}

/** True when prefix, length and checksum fit; says nothing about whether any device has the token. */
export function isWellFormedToken(token: string): boolean {
  const match = /^cvd_([A-Za-z0-9_-]{43})_([0-9a-z]{7})$/.exec(token);
  return match !== null && checksumOf(match[1] as string) === match[2];
}

/** Hex SHA-256: all that is ever stored of a token. */
export function digestOf(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}
