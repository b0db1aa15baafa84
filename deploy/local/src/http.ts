import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';

export interface HttpAnswer {
  status: number;
  body: string;
}

export interface HttpOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
  /** Whole exchange, in milliseconds. */
  timeoutMs?: number;
  /** Path of the authority to trust in the place of the usual ones, for https. */
  ca?: string | null;
}

const MOST_BYTES = 1024 * 1024;

/** One small HTTP exchange on a connection of its own. `fetch` cannot set the Host header. */
export function get(url: string, options: HttpOptions = {}): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const secure = url.startsWith('https:');
    const trust = secure && options.ca ? { ca: readFileSync(options.ca) } : {};
    const exchange = (secure ? requestTls : request)(url, {
      ...trust,
      method: options.method ?? 'GET',
      headers: { ...options.headers, connection: 'close' },
      agent: false,
      signal: AbortSignal.timeout(options.timeoutMs ?? 3_000),
    });
    exchange.once('error', reject);
    exchange.once('response', (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (text: string) => {
        body += text;
        if (body.length > MOST_BYTES) exchange.destroy(new Error(`${url} answers more than ${MOST_BYTES} bytes`));
      });
      response.once('error', reject);
      response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
    });
    exchange.end(options.body);
  });
}
