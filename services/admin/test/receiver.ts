import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Webhook, WebhookVerificationError } from 'standardwebhooks';

export interface Received {
  headers: IncomingHttpHeaders;
  body: string;
  event: { id: string; type: string; subject: string; data: { epoch: number; seq: number } };
}

export interface Answer {
  status: number;
  headers?: Record<string, string>;
}

/** A receiver of webhooks: keeps what came, answers as the test wants. */
export class Receiver {
  readonly all: Received[] = [];
  /** `silent`: no answer at all. */
  answer: (received: Received) => Answer | 'silent' = () => ({ status: 204 });
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<Receiver> {
    const server = createServer();
    const receiver = new Receiver(server);
    server.on('request', (request, response) => {
      let body = '';
      request.setEncoding('utf8');
      request.on('data', (text: string) => {
        body += text;
      });
      request.on('end', () => {
        const received = { headers: request.headers, body, event: JSON.parse(body) as Received['event'] };
        receiver.all.push(received);
        const answer = receiver.answer(received);
        if (answer !== 'silent') response.writeHead(answer.status, answer.headers).end();
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/hook`;
  }

  /** Types of the events about a device, as they came. */
  typesOf(device: string): string[] {
    return this.all.filter(({ event }) => event.subject === device).map(({ event }) => event.type);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }
}

/** As a receiver checks it, with the library of Standard Webhooks: the signature, and that the message is of now. */
export function isSigned({ headers, body }: Received, secret: string): boolean {
  try {
    new Webhook(secret).verify(body, headers as Record<string, string>);
    return true;
  } catch (error) {
    if (error instanceof WebhookVerificationError) return false;
    throw error;
  }
}
