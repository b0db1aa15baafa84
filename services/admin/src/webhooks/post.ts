import { request as http } from 'node:http';
import { request as https } from 'node:https';
import { faultOfUrl, publicLookup } from './address-guard.ts';
import { signedHeaders } from './sign.ts';

export interface Letter {
  url: string;
  secret: string;
  /** Of the event: the receiver tells by it what it has seen. */
  id: string;
  /** JSON, sent and signed as it is. */
  body: string;
}

export type PostResult =
  | { ok: true; status: number; ms: number }
  | {
      ok: false;
      /** A closed list, for metrics. */
      outcome: 'refused' | 'redirect' | 'gone' | 'timeout' | 'unreachable' | 'private_address';
      /** For people. */
      reason: string;
      status: number | null;
      retryAfterMs: number | undefined;
      ms: number;
    };

/** Of a wait that the receiver asks for. */
const MOST_RETRY_AFTER_MS = 3_600_000;

export interface PostOptions {
  /** From the first step to the last byte of the answer's header. */
  deadlineMs: number;
  /** Addresses of private networks are allowed, and plain http. */
  privateAllowed: boolean;
  signal: AbortSignal;
}

/** Sends one message once. No redirect is followed, nothing of the answer but its status is read. Never rejects. */
export async function post(letter: Letter, { deadlineMs, privateAllowed, signal }: PostOptions): Promise<PostResult> {
  const startedAt = performance.now();
  const ms = (): number => Math.round(performance.now() - startedAt);
  const fail = (outcome: Extract<PostResult, { ok: false }>['outcome'], reason: string): PostResult => {
    return { ok: false, outcome, reason, status: null, retryAfterMs: undefined, ms: ms() };
  };
  const fault = faultOfUrl(letter.url, privateAllowed);
  if (fault !== undefined) return fail('private_address', fault);
  const deadline = AbortSignal.timeout(deadlineMs);
  const body = Buffer.from(letter.body);
  return new Promise((resolve) => {
    const url = new URL(letter.url);
    const exchange = (url.protocol === 'https:' ? https : http)(url, {
      method: 'POST',
      agent: false,
      signal: AbortSignal.any([deadline, signal]),
      ...(privateAllowed ? {} : { lookup: publicLookup }),
      headers: {
        'content-type': 'application/cloudevents+json',
        'content-length': body.length,
        'user-agent': 'Culvert-Webhook/1',
        connection: 'close',
        ...signedHeaders(letter.secret, letter.id, Date.now(), letter.body),
      },
    });
    exchange.once('error', (error) => {
      if (deadline.aborted) resolve(fail('timeout', `no answer within ${deadlineMs} ms`));
      else resolve(fail(error.name === 'PrivateAddress' ? 'private_address' : 'unreachable', error.message.slice(0, 300)));
    });
    exchange.once('response', (response) => {
      const status = response.statusCode ?? 0;
      response.destroy();
      if (status >= 200 && status < 300) return resolve({ ok: true, status, ms: ms() });
      const outcome = status === 410 ? 'gone' : status >= 300 && status < 400 ? 'redirect' : 'refused';
      const more = outcome === 'redirect' ? '; redirects are not followed' : '';
      const retryAfterMs = waitOf(response.headers['retry-after']);
      resolve({ ok: false, outcome, reason: `answered ${status}${more}`, status, retryAfterMs, ms: ms() });
    });
    exchange.end(body);
  });
}

/** Seconds, or a date; undefined for neither. */
function waitOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), MOST_RETRY_AFTER_MS) : undefined;
}
