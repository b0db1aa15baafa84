import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { crc32 } from 'node:zlib';
import { CulvertError, DEFAULT_LIMITS, ENROLL_PATH, isErrorCode } from '@culvert/contracts';
import { openSocket } from '@culvert/relay';
import { targetOf } from './address.ts';

export interface EnrollOptions {
  /** Origins of the server; tried in turn. */
  servers: readonly string[];
  name: string;
  /** The enrolment key: of `culvert enroll-key add`. */
  key: string;
  /** Of `createToken()`: keep it before you ask, and ask again with the same one when no answer came. */
  token: string;
  proxy?: string | null | undefined;
  /** PEM, besides the usual ones. */
  ca?: string | undefined;
  pins?: readonly string[] | undefined;
  signal?: AbortSignal | undefined;
}

/** An answer is no longer than this. */
const MOST_BYTES = 4_096;

/** A new device token: `cvd_`, 256 random bits, and a checksum by which a mistyped one is told. */
export function createToken(): string {
  const text = `cvd_${randomBytes(32).toString('base64url')}`;
  return `${text}_${crc32(text).toString(36).padStart(7, '0')}`;
}

/**
 * Makes this device known under its name, by an enrolment key; its token is good from then on. Asked again with the same
 * token, the server says yes again, and counts once.
 *
 * @throws CulvertError with the server's code: `unauthorized` (the key), `forbidden` (no use of it is left, or the device was
 *   revoked), `already_exists` (the name), `rate_limited`, `unavailable`.
 */
export async function enroll(options: EnrollOptions): Promise<void> {
  let failure: unknown = new CulvertError('bad_request', 'servers is empty');
  for (const server of options.servers) {
    try {
      await enrollAt(new URL(server), options);
      return;
    } catch (error) {
      failure = error;
      if (error instanceof CulvertError && error.code !== 'unavailable') throw error; // the next one would say the same
    }
  }
  throw failure;
}

async function enrollAt(server: URL, { name, key, token, proxy, ca, pins, signal }: EnrollOptions): Promise<void> {
  const deadline = AbortSignal.timeout(DEFAULT_LIMITS.HANDSHAKE_MS * 2);
  const stop = signal === undefined ? deadline : AbortSignal.any([signal, deadline]);
  const path = `${ENROLL_PATH}?name=${encodeURIComponent(name)}`;
  const target = targetOf({ proxy, ca, pins, limits: DEFAULT_LIMITS }, server, path, key, stop);
  try {
    const socket = await openSocket(target, stop);
    const { status, text, retryAfterMs } = await new Promise<Answer>((resolve, reject) => {
      const request = http.request({
        ...{ method: 'POST', path, signal: stop, createConnection: () => socket },
        headers: { host: server.host, authorization: `Bearer ${key}`, 'device-token': token, 'content-length': 0 },
      });
      request.once('error', reject).once('response', (response) => readAnswer(response).then(resolve, reject));
      request.end();
    });
    if (status !== 201) throw refusalOf(server, status, text, retryAfterMs);
  } catch (cause) {
    if (cause instanceof CulvertError) throw cause;
    throw new CulvertError('unavailable', `${server.origin} cannot be reached: ${(cause as Error).message}`, { cause });
  }
}

interface Answer {
  status: number;
  text: string;
  retryAfterMs: number | undefined;
}

async function readAnswer(response: http.IncomingMessage): Promise<Answer> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) if (text.length < MOST_BYTES) text += chunk as string;
  const seconds = Number(response.headers['retry-after']);
  return { status: response.statusCode ?? 0, text, retryAfterMs: seconds > 0 ? seconds * 1000 : undefined };
}

/** What is no answer of ours comes from something on the way: to be tried again. */
function refusalOf(server: URL, status: number, text: string, retryAfterMs: number | undefined): CulvertError {
  let said: { code?: unknown; message?: unknown } = {};
  try {
    said = JSON.parse(text) as typeof said;
  } catch {
    // told by its status below
  }
  const code = typeof said?.code === 'string' && isErrorCode(said.code) ? said.code : 'unavailable';
  const message = typeof said?.message === 'string' ? said.message : `${server.origin} answered ${status}`;
  return new CulvertError(code, message, { retryAfterMs });
}
