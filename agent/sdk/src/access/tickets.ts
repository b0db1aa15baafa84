import http from 'node:http';
import type { Duplex } from 'node:stream';
import { ACCESS_PATH, CulvertError, type ErrorCode, isErrorCode } from '@culvert/contracts';
import { openSocket } from '@culvert/relay';
import { codeOfStatus } from '@culvert/wire';
import { targetOf } from '../address.ts';
import type { Settings } from '../options.ts';

export interface AccessSettings extends Pick<Settings, 'proxy' | 'ca' | 'pins' | 'limits'> {
  server: URL;
  token: () => string;
}

/** An answer is a small JSON document. */
const ANSWER_BYTES = 16 * 1024;
/** Connections to the server that wait for the next question. */
const KEPT = 4;

/** Asks the server for tickets, on connections that are kept for the next ones. */
export class TicketOffice {
  readonly #settings: AccessSettings;
  readonly #agent: http.Agent;

  constructor(settings: AccessSettings) {
    this.#settings = settings;
    this.#agent = new ServerAgent(settings);
  }

  /** @throws CulvertError with the server's code, `unavailable` when it cannot be reached or its answer is none of ours. */
  async ask(device: string, port: number, signal: AbortSignal): Promise<{ path: string; key: string }> {
    const { answer, status } = await this.#send('POST', JSON.stringify({ device, port }), signal);
    if (status === 201 && typeof answer.key === 'string' && typeof answer.path === 'string') {
      if (answer.path.startsWith(`${ACCESS_PATH}/`)) return { path: answer.path, key: answer.key };
    }
    throw this.#stranger(status);
  }

  /** Who the token is of, if it may ask for tickets. @throws CulvertError as `ask` */
  async who(signal: AbortSignal): Promise<{ name: string; role: string }> {
    const { answer, status } = await this.#send('GET', '', signal);
    const { name, role } = answer;
    if (status === 200 && typeof name === 'string' && typeof role === 'string') return { name, role };
    throw this.#stranger(status);
  }

  close(): void {
    this.#agent.destroy();
  }

  #stranger(status: number): CulvertError {
    const { origin } = this.#settings.server;
    return new CulvertError('unavailable', `${origin} answers as if it were no Culvert server (${status})`);
  }

  /** The server's answer when it is no refusal. @throws CulvertError */
  async #send(
    method: 'GET' | 'POST',
    text: string,
    signal: AbortSignal,
  ): Promise<{ answer: Record<string, unknown>; status: number }> {
    const { status, body, retryAfter } = await this.#exchange(method, text, signal);
    const answer = parsed(body);
    if (status < 400) return { answer, status };
    const code: ErrorCode = typeof answer.code === 'string' && isErrorCode(answer.code) ? answer.code : codeOfStatus(status);
    const words = answer.detail ?? answer.message;
    const said = typeof words === 'string' ? words.slice(0, 512) : `${this.#settings.server.origin} answered ${status}`;
    throw new CulvertError(code, said, { retryAfterMs: retryAfter });
  }

  async #exchange(method: 'GET' | 'POST', body: string, signal: AbortSignal): Promise<HttpAnswer> {
    const { server, limits, token } = this.#settings;
    const deadline = AbortSignal.timeout(limits.HANDSHAKE_MS);
    const headers = {
      host: server.host,
      authorization: `Bearer ${token()}`,
      ...(body === '' ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }),
    };
    for (let again = true; ; again = false) {
      const request = http.request({ method, path: ACCESS_PATH, agent: this.#agent, headers, signal: deadline });
      const leave = (): void => void request.destroy();
      signal.addEventListener('abort', leave, { once: true });
      try {
        signal.throwIfAborted();
        request.end(body);
        return await answerOf(request);
      } catch (cause) {
        if (signal.aborted) throw new CulvertError('bye', 'stopped by the caller', { cause: signal.reason });
        // The server has closed a kept connection just when we used it: nothing was granted, or it expires unused.
        if (request.reusedSocket && again && !deadline.aborted) continue;
        if (cause instanceof CulvertError) throw cause;
        const why = deadline.aborted
          ? `did not answer within ${limits.HANDSHAKE_MS} ms`
          : `cannot be reached: ${(cause as Error).message}`;
        throw new CulvertError('unavailable', `${server.origin} ${why}`, { cause });
      } finally {
        signal.removeEventListener('abort', leave);
      }
    }
  }
}

/** Connects as an agent does: through its proxy, over TLS with verified certificates. */
class ServerAgent extends http.Agent {
  readonly #settings: AccessSettings;

  constructor(settings: AccessSettings) {
    super({ keepAlive: true, maxFreeSockets: KEPT });
    this.#settings = settings;
  }

  override createConnection(_options: http.ClientRequestArgs, done?: (error: Error | null, stream: Duplex) => void): null {
    const { limits, server } = this.#settings;
    const signal = AbortSignal.timeout(limits.HANDSHAKE_MS);
    openSocket(targetOf(this.#settings, server, ACCESS_PATH, '', signal), signal).then(
      (socket) => done?.(null, socket),
      (error: Error) => done?.(error, undefined as unknown as Duplex),
    );
    return null;
  }
}

interface HttpAnswer {
  status: number;
  body: string;
  retryAfter: number | undefined;
}

function answerOf(request: http.ClientRequest): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
        if (body.length > ANSWER_BYTES)
          response.destroy(new CulvertError('unavailable', 'the answer is too long for one of ours'));
      });
      response.once('error', reject);
      response.once('end', () => {
        const seconds = Number(response.headers['retry-after']);
        const retryAfter = Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined;
        resolve({ status: response.statusCode ?? 0, body, retryAfter });
      });
    });
  });
}

function parsed(body: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
