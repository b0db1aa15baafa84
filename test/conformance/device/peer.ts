import type { Socket } from 'node:net';
import type { ErrorCode } from '@culvert/contracts';
import { CulvertError } from '@culvert/contracts';
import { encodeClose, encodeEnd, encodeFrame, FrameParser, OPCODE, renderRefusal, renderUpgrade } from '@culvert/wire';
import { check, pause, until } from './wait.ts';

/** A request as it came: nothing is normalised but the case of header names. */
export interface Request {
  text: string;
  method: string;
  target: string;
  path: string;
  query: URLSearchParams;
  headers: Map<string, string>;
  /** When it was complete, in milliseconds of `performance.now()`. */
  at: number;
}

export type Text = Record<string, unknown>;

/** How many of the first bytes are kept as they came, masks and all. */
const RAW_KEPT = 1 << 16;

/** The server's end of one connection of the agent: raw, so that it can say what no good server would. */
export class Peer {
  readonly request: Request;
  readonly socket: Socket;
  readonly texts: Text[] = [];
  /** What came first: types of messages, `data` and `END`, as they came; at most 1,000. */
  readonly order: string[] = [];
  readonly pings: string[] = [];
  readonly pongs: string[] = [];
  /** Bytes of binary messages. */
  readonly chunks: Buffer[] = [];
  received = 0;
  /** How often END came. */
  ends = 0;
  /** What the agent sent as close frame. */
  closed: { code: number; reason: string } | undefined;
  closedAt = 0;
  /** Its TCP connection is over, in whatever way. */
  gone = false;
  goneAt = 0;
  /** What was wrong with the agent's frames. */
  fault: string | undefined;
  /** The first bytes behind the handshake, as they came. */
  raw = Buffer.alloc(0);
  /** Every byte is written alone. */
  bytewise = false;
  /** Hears of every message. What it throws is a fault of the agent. */
  onMessage: (text: Text) => void = () => {};
  #onBinary: (message: Buffer) => void = () => {};
  readonly #parser: FrameParser;

  constructor(socket: Socket, request: Request, rest: Buffer) {
    this.socket = socket;
    this.request = request;
    this.#parser = new FrameParser(
      { role: 'server', maxFrame: 1 << 20 },
      {
        onData: (chunk, from, to) => {
          this.chunks.push(Buffer.from(chunk.subarray(from, to)));
          this.received += to - from;
          this.#note('data');
          if (this.ends > 0) this.fault ??= 'binary data after END';
        },
        onEnd: () => {
          this.ends += 1;
          this.#note('END');
          if (this.ends > 1) this.fault ??= 'a second END';
        },
        onBinary: (message) => this.#onBinary(message),
        onText: (text) => this.#onText(text),
        onPing: (payload) => this.pings.push(payload.toString('latin1')),
        onPong: (payload) => this.pongs.push(payload.toString('latin1')),
        onClose: (code, reason) => {
          this.closed = { code, reason };
          this.closedAt = performance.now();
        },
      },
    );
    socket.setNoDelay(true);
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('close', () => {
      this.gone = true;
      this.goneAt = performance.now();
    });
    if (rest.length > 0) this.#onData(rest);
  }

  get data(): Buffer {
    return Buffer.concat(this.chunks);
  }

  /** The last part of the path: the id of a dial. */
  get id(): string {
    return this.request.path.split('/').at(-1) ?? '';
  }

  /** Binary messages are taken whole, of at most `most` bytes; what the callback throws is a fault of the agent. */
  takeBinary(most: number, onBinary: (message: Buffer) => void): void {
    this.#parser.whole = most;
    this.#onBinary = onBinary;
  }

  /** Frames and the answer of the handshake are joined to one segment as far as TCP allows. */
  async accept(...behind: Buffer[]): Promise<this> {
    await this.write(Buffer.concat([Buffer.from(renderUpgrade(this.request.headers.get('sec-websocket-key') ?? '')), ...behind]));
    return this;
  }

  refuse(code: ErrorCode, retryAfterS?: number): void {
    const refusal = { code, message: `refused as ${code}` };
    this.socket.end(renderRefusal(retryAfterS === undefined ? refusal : { ...refusal, retryAfterMs: retryAfterS * 1000 }));
  }

  async write(bytes: Buffer): Promise<void> {
    if (!this.bytewise) {
      this.socket.write(bytes);
      return;
    }
    for (const byte of bytes) {
      this.socket.write(Buffer.of(byte));
      await pause(0); // the next one is another segment, and mostly another read
    }
  }

  send(data: Buffer | string): Promise<void> {
    return this.write(dataFrame(data));
  }
  say(message: Text): Promise<void> {
    return this.write(textFrame(message));
  }
  ping(payload = ''): Promise<void> {
    return this.write(encodeFrame(OPCODE.ping, Buffer.from(payload, 'latin1')));
  }
  end(): Promise<void> {
    return this.write(encodeEnd());
  }
  close(code: number, reason = ''): Promise<void> {
    return this.write(encodeClose(code, reason));
  }

  /** Reset: RST to the agent. */
  reset(): void {
    this.socket.resetAndDestroy();
  }

  /** The first message of that type. */
  said(type: string): Text | undefined {
    return this.texts.find((text) => text.type === type);
  }

  async gets(what: string, bytes: Buffer | string, deadlineMs?: number): Promise<void> {
    const expected = Buffer.from(bytes);
    await until(what, () => this.received >= expected.length || this.over, deadlineMs);
    check(this.data.equals(expected), `${what}: got ${this.received} bytes that differ from the ${expected.length} sent`);
  }

  get over(): boolean {
    return this.gone || this.closed !== undefined || this.fault !== undefined;
  }

  async isOver(what: string, deadlineMs?: number): Promise<void> {
    await until(what, () => this.gone || this.closed !== undefined, deadlineMs);
  }

  /** Ends a transfer as a server does, once both ENDs have passed, and sees that the agent ends it in order too. */
  async finish(): Promise<void> {
    await until('END of the agent', () => this.ends > 0 || this.over);
    this.inOrder();
    await this.close(1000);
    await until('the answer to close 1000', () => this.closed !== undefined || this.gone);
    check(this.closed === undefined || this.closed.code === 1000, `close 1000 was answered by ${this.closed?.code}`);
  }

  /** Fails when the agent broke the protocol or the connection so far. */
  inOrder(): void {
    check(this.fault === undefined, `the agent broke the protocol: ${this.fault}`);
    check(this.closed === undefined, `the agent closed with ${this.closed?.code} ${this.closed?.reason}`);
    check(!this.gone, 'the agent broke the connection');
  }

  #note(what: string): void {
    if (this.order.length < 1_000) this.order.push(what);
  }

  #onText(text: string): void {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      this.texts.push(value as Text);
      this.#note(String((value as Text).type));
      this.onMessage(value as Text);
    } else this.fault ??= `a message that is no JSON object: ${text.slice(0, 60)}`;
  }

  #onData(chunk: Buffer): void {
    if (this.raw.length < RAW_KEPT) this.raw = Buffer.concat([this.raw, chunk]).subarray(0, RAW_KEPT);
    if (this.fault !== undefined) return;
    try {
      this.#parser.push(chunk);
    } catch (error) {
      this.fault = error instanceof CulvertError ? error.message : `a message that is no JSON: ${(error as Error).message}`;
    }
  }
}

export function dataFrame(data: Buffer | string): Buffer {
  return encodeFrame(OPCODE.binary, Buffer.from(data));
}
export function textFrame(message: Text): Buffer {
  return encodeFrame(OPCODE.text, Buffer.from(JSON.stringify(message)));
}
