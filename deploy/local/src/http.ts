import { request } from 'node:http';

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
}

const MOST_BYTES = 1024 * 1024;

/** One small HTTP exchange on a connection of its own. `fetch` cannot set the Host header. */
export function get(url: string, options: HttpOptions = {}): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const exchange = request(url, {
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
