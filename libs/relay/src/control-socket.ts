import type net from 'node:net';
import { CulvertError, DEFAULT_LIMITS, type ErrorCode, type Limits } from '@culvert/contracts';
import { FrameParser } from '@culvert/wire';
import { CLOSE_BROKEN, type Role } from './ending.ts';
import { FlushWatch } from './flush-watch.ts';
import { FrameWriter } from './frame-writer.ts';
import { KEEPALIVE_MS } from './keepalive.ts';
import { type Swept, sweep } from './sweep.ts';
import type { UpgradedSocket } from './upgrade.ts';

/** How a control connection ended. */
export interface ControlEnding {
  /** WebSocket close code: the peer's, or ours when we closed first; 1006 when it broke without one. */
  close: number;
  reason: string;
  /** Our own code when it was us who ended it. */
  code: ErrorCode | undefined;
}

export interface ControlSocketOptions {
  role: Role;
  mask?: 'random' | 'zero';
  limits?: Pick<Limits, 'CLOSE_MS' | 'WRITE_MS' | 'CONTROL_MESSAGE_BYTES' | 'CONTROL_BUFFER_BYTES'>;
  /** A text message. */
  onText(text: string): void;
  /** It is over; called once, and nothing after it. */
  onGone(ending: ControlEnding): void;
}

/**
 * A WebSocket of text messages: a control connection after its handshake. Answers pings, keeps a closing handshake within
 * CLOSE_MS, and ends a peer that does not read: past CONTROL_BUFFER_BYTES or WRITE_MS.
 *
 *   open --close(), violation--> closing --peer's close frame, CLOSE_MS--> gone
 *     \--peer's close frame, answered; broken-------------------------------^
 */
export class ControlSocket implements Swept {
  readonly #socket: net.Socket;
  readonly #options: ControlSocketOptions;
  readonly #limits: Pick<Limits, 'CLOSE_MS' | 'WRITE_MS' | 'CONTROL_MESSAGE_BYTES' | 'CONTROL_BUFFER_BYTES'>;
  readonly #parser: FrameParser;
  readonly #writer: FrameWriter;
  readonly #watch: FlushWatch;
  #phase: 'open' | 'closing' | 'gone' = 'open';
  #onBinary: (message: Buffer) => void = () => {};
  #closeBy = Number.POSITIVE_INFINITY;
  #ending: ControlEnding = { close: CLOSE_BROKEN, reason: '', code: undefined };
  #inboundAt = performance.now();

  constructor({ socket, head }: UpgradedSocket, options: ControlSocketOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#limits = options.limits ?? DEFAULT_LIMITS;
    this.#writer = new FrameWriter(socket, options, this.#limits.CONTROL_BUFFER_BYTES);
    this.#watch = new FlushWatch(socket);
    this.#parser = new FrameParser(
      { role: options.role, maxText: this.#limits.CONTROL_MESSAGE_BYTES },
      {
        onData: () => this.close('protocol_error', BINARY),
        onEnd: () => this.close('protocol_error', BINARY),
        onBinary: (message) => this.#onBinaryMessage(message),
        onText: (text) => {
          if (this.#phase === 'open') this.#options.onText(text);
        },
        onPing: (payload) => this.#writer.pong(payload),
        onPong: () => {},
        onClose: (close, reason) => this.#onClose(close, reason),
      },
    );
    socket.setTimeout(0);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    socket.on('data', this.#onData).on('end', this.#socketOnEnd).on('error', ignore).on('close', this.#socketOnClose);
    sweep.add(this, Math.min(this.#limits.CLOSE_MS, this.#limits.WRITE_MS));
    process.nextTick(() => {
      if (head.length > 0) this.#onData(head);
      socket.resume();
    });
  }

  get open(): boolean {
    return this.#phase === 'open';
  }

  /** When the last bytes came, in milliseconds of `performance.now()`. */
  get lastInboundAt(): number {
    return this.#inboundAt;
  }

  /**
   * Inline transfers were granted: from here on binary messages of at most `most` bytes are handed on. A CulvertError thrown by the
   * callback ends the connection with its code.
   */
  takeBinary(most: number, onBinary: (message: Buffer) => void): void {
    this.#parser.whole = most;
    this.#onBinary = onBinary;
  }

  /** Bytes that the kernel has not taken yet. */
  get unsent(): number {
    return this.#socket.writableLength;
  }

  /** Sends one binary message; left out once it closes. */
  sendBinary(payload: Buffer, flushed: () => void): void {
    if (this.#phase === 'open') this.#writer.binary(payload, flushed);
  }

  /** Sends one message; left out once it closes. A peer that does not read is cut off past CONTROL_BUFFER_BYTES. */
  sendText(text: string): void {
    if (this.#phase !== 'open') return;
    this.#writer.text(text);
    if (this.#socket.writableLength > this.#limits.CONTROL_BUFFER_BYTES) this.#kill('write_timeout');
  }

  ping(): void {
    if (this.#phase === 'open') this.#writer.ping();
  }

  /** Begins the closing handshake. */
  close(code: ErrorCode = 'bye', text?: string): void {
    if (this.#phase !== 'open') return;
    this.#phase = 'closing';
    this.#closeBy = performance.now() + this.#limits.CLOSE_MS;
    this.#ending = { close: CLOSE_BROKEN, reason: '', code };
    this.#writer.closeWith(code, text);
  }

  /** Ends it at once, for a peer that is dead. */
  kill(code: ErrorCode): void {
    this.#kill(code);
  }

  /** For the sweep. */
  check(now: number): void {
    if (now >= this.#closeBy) this.#socket.destroy();
    else if (this.#watch.frozen(now, this.#limits.WRITE_MS)) this.#kill('write_timeout');
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#inboundAt = performance.now();
    try {
      this.#parser.push(chunk);
    } catch (error) {
      if (!(error instanceof CulvertError)) throw error;
      this.#fail(error.code, error.message);
    }
  };

  #onBinaryMessage(message: Buffer): void {
    if (this.#phase === 'open') this.#onBinary(message); // what it throws ends up in #onData
  }

  #onClose(close: number, reason: string): void {
    if (this.#phase === 'open') {
      this.#phase = 'closing';
      this.#closeBy = performance.now() + this.#limits.CLOSE_MS;
      this.#writer.closeBack(close);
    }
    this.#ending = { ...this.#ending, close, reason };
    this.#socket.destroySoon();
  }

  #fail(code: ErrorCode, text: string): void {
    if (this.#phase === 'open') this.close(code, text);
    else this.#socket.destroy(); // its close frame will never be found
  }

  #kill(code: ErrorCode): void {
    this.close(code);
    this.#socket.destroy();
  }

  /** A WebSocket is not half-open: without a close frame this is a break. */
  readonly #socketOnEnd = (): void => {
    this.#socket.destroy();
  };

  readonly #socketOnClose = (): void => {
    this.#phase = 'gone';
    sweep.delete(this);
    this.#options.onGone(this.#ending);
  };
}

const BINARY = 'a binary message on a control connection';

function ignore(): void {}
