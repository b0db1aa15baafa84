/** A refusal of the API (RFC 9457), or no answer at all: then the status is 0. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

const ANSWER_MS = 20_000;

/** Called when an answer says that the login is over. */
export const onLoggedOut: { call: () => void } = { call: () => {} };

/** One call of the admin API with the cookie of the login. @throws ApiError */
export async function api<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const deadline = AbortSignal.timeout(ANSWER_MS);
  let answer: Response;
  try {
    answer = await fetch(path, {
      method,
      headers: { 'culvert-request': '1', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    });
  } catch (error) {
    if (signal?.aborted === true) throw error;
    throw new ApiError(0, 'no_answer', 'The server does not answer.');
  }
  const text = await answer.text();
  const value: unknown = text === '' ? null : parse(text);
  if (answer.ok) return value as T;
  const { code = 'internal', detail = `The server answers ${answer.status}.` } = (value ?? {}) as Record<string, string>;
  if (answer.status === 401 && path !== '/v1/login') onLoggedOut.call();
  throw new ApiError(answer.status, code, detail);
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => api<T>('GET', path, undefined, signal);

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** What people are told of an error. */
export const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
