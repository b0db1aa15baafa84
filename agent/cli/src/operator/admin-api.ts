import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import { CommandError, EXIT, textOf } from '../exit.ts';
import type { AdminAddress } from './admin-address.ts';

/** An answer that takes longer is none; revoking waits for acknowledgements of other instances. */
const ANSWER_MS = 30_000;

/**
 * One request to the admin API; the decoded JSON body of a 2xx answer.
 *
 * @throws CommandError: failed with the server's own words when it says no, unreachable when it does not answer.
 */
export async function callAdmin(
  admin: AdminAddress,
  method: string,
  path: string,
  body?: unknown,
  /** What the server itself may take before it answers, in milliseconds. */
  waitMs = 0,
): Promise<unknown> {
  trust(admin.caFile);
  let status: number;
  let text: string;
  try {
    const answer = await fetch(`${admin.url}${path}`, {
      method,
      redirect: 'error',
      signal: AbortSignal.timeout(waitMs + ANSWER_MS),
      headers: {
        authorization: `Bearer ${admin.token}`,
        accept: 'application/json',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    status = answer.status;
    text = await answer.text();
  } catch (err) {
    throw new CommandError(EXIT.unreachable, `cannot reach the admin API at ${admin.url}: ${textOf(err)}`, { cause: err });
  }
  const decoded = parse(text);
  if (status >= 200 && status < 300 && decoded !== undefined) return decoded;
  throw new CommandError(EXIT.failed, refusal(admin.url, status, decoded));
}

/** Certificates are verified here, too, whatever the environment says. */
export function trust(caFile: string | undefined): void {
  delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  if (caFile === undefined || caFile === '') return;
  try {
    tls.setDefaultCACertificates([...tls.getCACertificates('default'), readFileSync(caFile, 'utf8')]);
  } catch (err) {
    throw new CommandError(EXIT.usage, `the authority of the admin API cannot be read: ${textOf(err)}`, { cause: err });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Words of an RFC 9457 problem document, else what can be said of the status. */
function refusal(url: string, status: number, decoded: unknown): string {
  if (status >= 200 && status < 300) return `${url} answered ${status} without JSON; is it the admin API?`;
  const problem = (typeof decoded === 'object' && decoded !== null ? decoded : {}) as Record<string, unknown>;
  const detail = typeof problem.detail === 'string' ? problem.detail : problem.title;
  const words = typeof detail === 'string' && detail !== '' ? detail : `the admin API at ${url} answered ${status}`;
  const code = typeof problem.code === 'string' ? ` (${problem.code})` : '';
  const hint = status === 401 ? '\nThe admin token is wrong: a stack that was started anew has a new one.' : '';
  return `${words}${code}${hint}`;
}
