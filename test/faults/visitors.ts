import { createHash } from 'node:crypto';
import net from 'node:net';
import { Client, type Dispatcher } from 'undici';
import { patternBlock, patternDigest } from '../harness/targets.ts';
import type { Tally, Visit } from './tally.ts';

/** Where the visitors of one device go. */
export interface Places {
  device: string;
  edge: string;
  host: string;
  /** Public ports of an echo and of a target that digests what it gets. */
  echo: () => number;
  bulk: () => number;
}

const HTTP_BYTES = [200, 20_000, 300_000] as const;
const POST_BYTES = 10_000;
const HTTP_PAUSE_MS = 40;
const HTTP_LATE_MS = 40_000;
const BULK_CHUNK = 64 * 1024;
const BULK_CHUNKS = 40;
const BULK_PACE_MS = 25;
const BULK_LATE_MS = 60_000;
const ECHO_PACE_MS = 100;
const ECHO_LATE_MS = 60_000;
/** After a refusal, so that a port that is closed for a while is not stormed. */
const REFUSED_PAUSE_MS = 100;

const digests = new Map<number, string>();
function digestOfPattern(bytes: number): string {
  const known = digests.get(bytes) ?? patternDigest(bytes);
  digests.set(bytes, known);
  return known;
}
const JSON_TYPE = 'application/json';
/** The status of a page of the edge, and its code. */
async function saidBy({ statusCode, body }: Dispatcher.ResponseData): Promise<string> {
  const text = await body.text();
  return `status ${statusCode} ${/"code":\s*"(\w+)"/.exec(text)?.[1] ?? 'no page'}`;
}
const pause = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));
const reasonOf = (error: unknown): string => {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
};

/**
 * Visitors of one device that go on until they are stopped: requests over a kept connection, uploads of some seconds each,
 * and a connection that stays. Every byte that comes back is verified.
 */
export class Visitors {
  readonly #places: Places;
  readonly #tally: Tally;
  readonly #lives: Promise<void>[] = [];
  readonly #sockets = new Set<net.Socket>();
  #stopping = false;

  constructor(places: Places, tally: Tally) {
    this.#places = places;
    this.#tally = tally;
    this.#lives.push(this.#http(), this.#http(), this.#bulk(), this.#echo());
  }

  /** Lets what runs come to its end, and begins nothing new. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lives);
  }

  async #visit(kind: Visit['kind'], work: () => Promise<void>): Promise<string | undefined> {
    const startedAt = performance.now();
    let fault: string | undefined;
    try {
      await work();
    } catch (error) {
      fault = reasonOf(error);
    }
    if (fault === 'ECONNREFUSED') fault = 'refused';
    this.#tally.add({ kind, device: this.#places.device, startedAt, endedAt: performance.now(), fault });
    return fault;
  }

  async #http(): Promise<void> {
    const { edge } = this.#places;
    const client = new Client(edge, { headersTimeout: HTTP_LATE_MS, bodyTimeout: HTTP_LATE_MS });
    for (let turn = 0; !this.#stopping; turn += 1) {
      const bytes = HTTP_BYTES[turn % HTTP_BYTES.length] as number;
      const fault = await this.#visit('http', () => (turn % 4 === 3 ? this.#post(client) : this.#get(client, bytes)));
      await pause(fault === undefined ? HTTP_PAUSE_MS : REFUSED_PAUSE_MS);
    }
    await client.close();
  }

  async #get(client: Client, bytes: number): Promise<void> {
    const { host } = this.#places;
    const answer = await client.request({ path: `/bytes/${bytes}`, method: 'GET', headers: { host, accept: JSON_TYPE } });
    if (answer.statusCode !== 200) throw new Error(await saidBy(answer));
    const hash = createHash('sha256');
    let length = 0;
    for await (const chunk of answer.body) {
      hash.update(chunk as Buffer);
      length += (chunk as Buffer).length;
    }
    if (length !== bytes || hash.digest('hex') !== digestOfPattern(bytes)) throw new Error(`${length} wrong bytes`);
  }

  /** What must not be sent twice gets a transfer of its own. */
  async #post(client: Client): Promise<void> {
    const { host } = this.#places;
    const body = patternBlock(0, POST_BYTES);
    const answer = await client.request({ path: '/upload', method: 'POST', headers: { host, accept: JSON_TYPE }, body });
    if (answer.statusCode !== 200) throw new Error(await saidBy(answer));
    const text = await answer.body.text();
    if ((JSON.parse(text) as { sha256: string }).sha256 !== digestOfPattern(POST_BYTES)) throw new Error('a wrong upload');
  }

  #connect(port: number, lateMs: number): net.Socket {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    socket.setTimeout(lateMs, () => socket.destroy(new Error(`silent for ${lateMs} ms`)));
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    return socket;
  }

  /** Sends the pattern for about a second, ends its side, and compares the digest that comes back. */
  async #bulk(): Promise<void> {
    while (!this.#stopping) {
      const fault = await this.#visit('bulk', async () => {
        const socket = this.#connect(this.#places.bulk(), BULK_LATE_MS);
        let answer = '';
        const closed = new Promise<void>((resolve, reject) => {
          socket.on('data', (chunk: Buffer) => {
            answer += chunk.toString('latin1');
          });
          socket.on('error', reject);
          socket.on('end', resolve);
          socket.on('close', () => reject(new Error('closed without an end')));
        });
        closed.catch(() => {});
        await Promise.race([new Promise((done) => socket.once('connect', done)), closed]);
        for (let at = 0; at < BULK_CHUNKS && !socket.destroyed; at += 1) {
          if (!socket.write(patternBlock(at * BULK_CHUNK, BULK_CHUNK))) {
            await Promise.race([new Promise((done) => socket.once('drain', done)), closed]);
          }
          await pause(BULK_PACE_MS);
        }
        socket.end();
        await closed;
        socket.destroy();
        const bytes = BULK_CHUNKS * BULK_CHUNK;
        if (answer !== `${bytes} ${digestOfPattern(bytes)}\n`) throw new Error(`a wrong answer: ${answer.slice(0, 80)}`);
      });
      if (fault !== undefined) await pause(REFUSED_PAUSE_MS);
    }
  }

  /** One connection that lives until it breaks; each loss is a fault, and another takes its place. */
  async #echo(): Promise<void> {
    while (!this.#stopping) {
      const fault = await this.#visit('echo', async () => {
        const socket = this.#connect(this.#places.echo(), ECHO_LATE_MS);
        let wanted = '';
        let wake = (): void => {};
        let broken: Error | undefined;
        socket.on('data', (chunk: Buffer) => {
          const text = chunk.toString('latin1');
          if (!wanted.startsWith(text)) broken ??= new Error(`a wrong echo: ${text.slice(0, 40)}`);
          wanted = wanted.slice(text.length);
          wake();
        });
        socket.on('error', (error) => {
          broken ??= error;
        });
        socket.on('end', () => {
          broken ??= new Error('ended by the server');
          wake();
        });
        socket.on('close', () => {
          broken ??= new Error('closed');
          wake();
        });
        for (let turn = 0; !this.#stopping && broken === undefined; turn += 1) {
          const line = `${turn} ${this.#places.device}\n`;
          wanted += line;
          socket.write(line, 'latin1');
          while (wanted !== '' && broken === undefined) {
            await new Promise<void>((done) => {
              wake = done;
            });
          }
          if (broken === undefined) await pause(ECHO_PACE_MS);
        }
        socket.destroy();
        if (broken !== undefined) throw broken;
      });
      if (fault !== undefined) await pause(REFUSED_PAUSE_MS);
    }
  }
}
