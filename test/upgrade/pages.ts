import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { Agent, request as requestByTls } from 'node:https';
import { patternBlock, patternDigest } from '../harness/targets.ts';

const SIZES = [200, 20_000, 300_000];
const UPLOAD = 10_000;
const LATE_MS = 40_000;
const PAUSE_MS = 30;

/**
 * Visitors of pages that never rest, every byte verified: each request on a connection of its own, by TLS each visitor on one
 * that is kept.
 */
export class Pages {
  served = 0;
  readonly faults: string[] = [];
  readonly #edge: URL;
  readonly #ca: string | undefined;
  readonly #lives: Promise<void>[] = [];
  #stopping = false;

  constructor(edge: string, ca?: string) {
    this.#edge = new URL(edge);
    this.#ca = ca;
  }

  /** Two visitors more, of this page. */
  visit(host: string): void {
    this.#lives.push(this.#life(host, 0), this.#life(host, 1));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lives);
  }

  async #life(host: string, first: number): Promise<void> {
    const agent = this.#edge.protocol === 'https:' && new Agent({ keepAlive: true, maxSockets: 1, ca: this.#ca });
    for (let turn = first; !this.#stopping; turn += 1) {
      const bytes = turn % 4 === 3 ? undefined : (SIZES[turn % SIZES.length] as number);
      try {
        await this.#request(host, bytes, agent);
        this.served += 1;
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        this.faults.push(`${new Date().toISOString()} ${host}: ${code ?? ''} ${message}`);
      }
      await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
    if (agent !== false) agent.destroy();
  }

  #request(host: string, bytes: number | undefined, agent: Agent | false): Promise<void> {
    return new Promise((resolve, reject) => {
      const servername = host.replace(/:.*/, '');
      const asked = (agent === false ? request : requestByTls)(
        {
          ...{ host: this.#edge.hostname, port: this.#edge.port, headers: { host }, agent, timeout: LATE_MS, servername },
          ...(bytes === undefined ? { method: 'POST', path: '/upload' } : { path: `/bytes/${bytes}` }),
        },
        (answer) => {
          const hash = createHash('sha256');
          let text = '';
          answer.on('data', (chunk: Buffer) => {
            if (bytes === undefined) text += chunk.toString();
            else hash.update(chunk);
          });
          answer.on('error', reject);
          answer.on('end', () => {
            if (answer.statusCode !== 200) return reject(new Error(`status ${answer.statusCode}`));
            const digest = bytes === undefined ? (JSON.parse(text) as { sha256: string }).sha256 : hash.digest('hex');
            return digest === patternDigest(bytes ?? UPLOAD) ? resolve() : reject(new Error('wrong bytes'));
          });
        },
      );
      asked.on('timeout', () => asked.destroy(new Error(`silent for ${LATE_MS} ms`)));
      asked.on('error', reject);
      asked.end(bytes === undefined ? patternBlock(0, UPLOAD) : undefined);
    });
  }
}
