import type net from 'node:net';
import { CulvertError, DEAD_AFTER_HEARTBEATS, DEFAULT_LIMITS, type ErrorCode, type VisitorOutcome } from '@culvert/contracts';
import { decodeMessage, FrameParser, type Message } from '@culvert/wire';
import { bulkThread, type Loan } from './bulk.ts';
import { codeOfAbort, codeOfEnding, outcomeOf, outcomeOfClose, type Role } from './ending.ts';
import { FlushWatch } from './flush-watch.ts';
import { FrameWriter } from './frame-writer.ts';
import { Keepalive } from './keepalive.ts';
import type { Pace } from './pace.ts';
import { Reader } from './reader.ts';
import { SLAB_SIZES } from './slab.ts';
import { type Link, type Moved, type RelayLimits, Splice, type SpliceResult } from './splice.ts';
import type { StopSignal } from './stop.ts';
import { sweep } from './sweep.ts';
import { Owner } from './turns.ts';

export interface TransferOptions {
  role: Role;
  /** Largest binary frame the peer takes, in bytes. Default: a device MAX_FRAME_BYTES (64 KiB), a server 1 MiB. */
  maxFrame?: number;
  /** Bytes that came behind the handshake. */
  head?: Buffer;
  /** The answer to the handshake, where the caller has not written it and seen it flushed: a visitor's bytes wait for an empty socket. */
  answer?: string;
  /** A client's mask. Default `random`; `zero` is for TLS only. */
  mask?: 'random' | 'zero';
  /** While there is no visitor, the server pings this often, and both sides give up after 2.5 of it without a sign of life. Default: neither. */
  heartbeatMs?: number;
  limits?: RelayLimits;
  /** Its peer is an edge, which reads all that is there in one go: beside others who wait for answers, bulk does not fill its buffer. */
  byEdge?: boolean | undefined;
  /** The WebSocket is gone. Called once. */
  onGone?(code: ErrorCode): void;
}

/** What a warm transfer adds: text messages, and a life after the first visitor. */
export interface Recycling {
  /** Returns what is wrong with the message here, or undefined. */
  onMessage(message: Message): string | undefined;
  /** A visitor ended in order. */
  onServed(): void;
  /** For deadlines of a visitor: called by the sweep. */
  check?(now: number): void;
  /** The transfer is about to close, whoever began it; the visitor may still be taken back. */
  onClosing(code: ErrorCode): void;
}

export interface SpliceOptions {
  /** Ends it with the code of the reason if that is a CulvertError, else with `wind_down`. */
  signal?: StopSignal | undefined;
  /** Bytes of the visitor to be sent before those of its socket (from a transfer that was not taken). */
  early?: Buffer | undefined;
  /** How fast both directions are read. Default: as fast as they can be. */
  pace?: Pace | undefined;
  /** Told when bytes begin to flow; what has moved can be read from then on. */
  onRunning?: ((running: { readonly moved: Moved }) => void) | undefined;
}

/**
 * One transfer connection after its handshake: a WebSocket that carries one visitor, or, when recycled, one after the other.
 *
 *   open --splice()--> spliced --both ENDs-----> closing (1000), or open again when it is recycled
 *    |                    \------a side breaks-> closing (4xxx)
 *    \--peer's close frame, cut(), violation---> closing --both close frames, CLOSE_MS--> gone
 *
 * Owns the socket it is given. No byte is lost: without a visitor, data stays unread until `splice` gives it a place.
 */
export class Transfer {
  readonly role: Role;
  readonly #options: TransferOptions;
  readonly #limits: RelayLimits;
  readonly #recycling: Recycling | undefined;
  readonly #socket: net.Socket;
  readonly #reader: Reader;
  readonly #parser: FrameParser;
  readonly #writer: FrameWriter;
  readonly #watch: FlushWatch;
  readonly #keepalive: Keepalive;
  readonly #link: Link;

  #phase: 'open' | 'closing' | 'gone' = 'open';
  #goneCode: ErrorCode = 'peer_reset';
  /** What a visitor who comes too late is told. */
  #goneOutcome: VisitorOutcome = 'peer_reset';
  /** When the socket is destroyed, whatever the peer does. */
  #closeBy = Number.POSITIVE_INFINITY;
  /** Its last visitor ended in order: bytes that still wait for the peer are his. */
  #servedWell = false;
  #splice: Splice | undefined;
  #stray: 'hold' | 'discard' | 'fault' = 'hold';
  #seenReads = 0;
  #inboundAt = performance.now();
  #pingedAt = performance.now();

  /** @throws CulvertError `peer_reset` when the socket is already gone. */
  constructor(socket: net.Socket, options: TransferOptions, recycling?: Recycling) {
    this.role = options.role;
    this.#options = options;
    this.#recycling = recycling;
    const limits = options.limits ?? DEFAULT_LIMITS;
    this.#limits = limits;
    const owner = new Owner();
    this.#parser = new FrameParser(
      { role: this.role, maxText: limits.CONTROL_MESSAGE_BYTES },
      {
        onData: (bytes, from, to) => this.#onData(bytes, from, to),
        onEnd: () => this.#onEnd(),
        onText: (text) => this.#onText(text),
        onPing: (payload) => this.#writer.pong(payload),
        onPong: () => {},
        onClose: (code) => this.#onClose(code),
      },
    );
    this.#parser.hold = true;
    this.#reader = new Reader({
      owner,
      maxRead: limits.TRANSFER_BUFFER_BYTES,
      turnBytes: limits.TURN_BYTES,
      use: (bytes, from, to) => this.#push(bytes, from, to),
      ahead: () => this.#parser.ahead,
      lend: (back) => this.#lendDown(back),
    });
    this.#socket = this.#reader.attach(socket, options.head);
    this.#writer = new FrameWriter(this.#socket, options, limits.TRANSFER_BUFFER_BYTES, () => {
      if (this.#phase === 'open') this.#splice?.wake(); // nothing goes behind a close frame
    });
    if (options.answer !== undefined) this.#writer.greet(options.answer);
    this.#watch = new FlushWatch(this.#socket);
    this.#keepalive = new Keepalive(this.#socket);
    this.#link = {
      owner,
      role: this.role,
      socket: this.#socket,
      limits,
      byEdge: options.byEdge === true,
      maxFrame: this.#writer.maxFrame,
      sendData: (bytes, from, to, flushed) => this.#writer.data(bytes, from, to, flushed),
      frames: this.#writer,
      reader: this.#reader,
      lost: () => this.#lost(),
      sendEnd: () => this.#writer.end(),
      spliceOver: (code) => this.#spliceOver(code),
    };
    this.#socket.on('end', this.#socketOnEnd).on('error', ignore).on('close', this.#socketOnClose);
    const { WRITE_MS, CLOSE_MS, WARM_ACCEPT_MS, LINGER_MS } = limits;
    sweep.add(this, Math.min(WRITE_MS, CLOSE_MS, WARM_ACCEPT_MS, LINGER_MS, options.heartbeatMs ?? WRITE_MS));
    process.nextTick(() => this.#reader.start()); // the caller has the object before it hears of anything
  }

  /** Neither side has begun to close it. */
  get open(): boolean {
    return this.#phase === 'open';
  }

  /** A visitor is on it. */
  get busy(): boolean {
    return this.#splice !== undefined;
  }

  /** Bytes that wait for either peer to take them: at most one read each way. */
  get unflushed(): number {
    return this.#socket.writableLength + (this.#splice?.tcp.writableLength ?? 0);
  }

  /** When the last bytes came, in milliseconds of `performance.now()`. */
  get lastInboundAt(): number {
    if (this.#seenReads !== this.#reader.reads) {
      this.#seenReads = this.#reader.reads;
      this.#inboundAt = performance.now();
    }
    return this.#inboundAt;
  }

  /** What becomes of binary messages while there is no visitor. Default: they are held for the next one. */
  set stray(stray: 'hold' | 'discard' | 'fault') {
    this.#stray = stray;
    this.#parser.hold = stray === 'hold' && this.#splice === undefined;
    this.#reader.update();
  }

  /**
   * Joins it with a TCP socket until both directions have ended or one side breaks. Never rejects: what peers do wrong is an
   * outcome. The socket, paused or not read yet, belongs to the splice, which destroys it.
   *
   * @throws CulvertError `internal` while another visitor is on it.
   */
  splice(tcp: net.Socket, options: SpliceOptions = {}): Promise<SpliceResult> {
    const splice = this.join(tcp, false);
    if (splice === undefined) {
      const outcome = this.open ? (this.role === 'server' ? 'visitor_gone' : 'peer_reset') : this.#goneOutcome;
      tcp.on('error', ignore).destroy();
      this.cut('peer_reset');
      return Promise.resolve({ outcome, toDevice: 0, toVisitor: 0 });
    }
    return new Promise((resolve) => this.run(splice, options, resolve));
  }

  /** First half of `splice`: undefined when the transfer or the TCP socket is already gone. For `warm-host.ts` too. */
  join(tcp: net.Socket, probation: boolean): Splice | undefined {
    if (this.#splice !== undefined) throw new CulvertError('internal', 'a transfer was given a second visitor at once');
    if (this.#phase !== 'open') return undefined;
    try {
      this.#splice = new Splice(this.#link, tcp, this.#reader.flushed, probation);
    } catch (error) {
      if (error instanceof CulvertError) return undefined;
      throw error;
    }
    return this.#splice;
  }

  /** Second half: bytes flow from here on, until `onSettled`. */
  run(splice: Splice, { signal, early, pace, onRunning }: SpliceOptions, onSettled: (result: SpliceResult) => void): void {
    splice.onSettled = onSettled;
    onRunning?.(splice);
    if (pace !== undefined) splice.pace = pace;
    this.#reader.pace = pace;
    this.#reader.sink = splice.tcp;
    this.#parser.hold = false;
    splice.start(early);
    this.#reader.update();
    if (signal === undefined || this.#splice !== splice) return;
    const onAbort = (): void => {
      if (this.#splice !== splice) return; // handed back already
      const code = codeOfAbort(signal);
      if (splice.onProbation)
        this.cut(code); // the visitor is handed back
      else splice.settle(outcomeOf(code), code);
    };
    if (signal.aborted) {
      onAbort();
      return;
    }
    signal.addEventListener('abort', onAbort, { once: true });
    splice.onSettled = (result) => {
      signal.removeEventListener('abort', onAbort);
      onSettled(result);
    };
  }

  /** The visitor was taken back (`Splice.withdraw`): there is none now. */
  forget(splice: Splice): void {
    if (this.#splice === splice) this.#spliceLeft();
  }

  send(message: Message): void {
    if (this.#phase === 'open') this.#writer.message(message);
  }

  /** The same when the visitor's first bytes are about to follow: both may share a system call. */
  sendBeforeData(message: Message): void {
    if (this.#phase === 'open') this.#writer.messageBeforeData(message);
  }

  ping(): void {
    this.#pingedAt = performance.now();
    this.#writer.ping();
  }

  /** Ends it, and the visitor it may have, with this code. Default: `bye`, an orderly close. */
  cut(code: ErrorCode = 'bye'): void {
    if (this.#phase === 'open') this.#recycling?.onClosing(code);
    const splice = this.#splice;
    if (splice !== undefined && !splice.bothEnded) splice.settle(outcomeOf(code), code);
    this.#beginClose(code);
  }

  /** The same at once, whatever still waits to be sent: for a peer that would not hear a close frame. */
  kill(code: ErrorCode): void {
    this.cut(code);
    this.#socket.destroy();
  }

  /** For the sweep. */
  check(now: number): void {
    this.#keepalive.check();
    this.#recycling?.check?.(now);
    this.#splice?.check(now);
    if (this.#phase === 'gone') return;
    if (this.#closesBehindBytes) this.#closeBy = now + this.#limits.CLOSE_MS;
    if (now >= this.#closeBy) this.#socket.destroy();
    else if (this.#watch.frozen(now, this.#limits.WRITE_MS)) this.kill('write_timeout');
    else if (this.#options.heartbeatMs !== undefined && this.#phase === 'open') this.#heartbeat(now, this.#options.heartbeatMs);
  }

  /** The closing handshake comes behind the last bytes of a visitor: how long the peer takes for them, the write deadline bounds. */
  get #closesBehindBytes(): boolean {
    const closes = this.#closeBy !== Number.POSITIVE_INFINITY && this.#socket.writableLength > 0;
    return closes && (this.#splice?.bothEnded ?? this.#servedWell);
  }

  #heartbeat(now: number, heartbeatMs: number): void {
    if (this.#splice !== undefined || this.#reader.waiting) {
      // A peer whose visitor or target stands still does not read our pings: the write deadline watches instead.
      this.#inboundAt = now;
      return;
    }
    if (this.role === 'server' && now - this.#pingedAt >= heartbeatMs) this.ping();
    if (now - this.lastInboundAt >= heartbeatMs * DEAD_AFTER_HEARTBEATS) this.kill('heartbeat_lost');
  }

  #push(bytes: Buffer, from: number, to: number): number {
    const at = this.#parse(bytes, from, to);
    const splice = this.#splice;
    splice?.handOn();
    if (splice !== undefined && splice.received >= MUCH_BYTES) this.#writer.flush();
    return at;
  }

  #parse(bytes: Buffer, from: number, to: number): number {
    try {
      return this.#parser.push(bytes, from, to);
    } catch (error) {
      if (!(error instanceof CulvertError)) throw error;
      this.#fail(error.code, error.message);
      return to;
    }
  }

  #lendDown(back: () => void): Loan | undefined {
    const splice = this.#splice;
    const { place } = this.#parser;
    if (place === undefined || this.#phase !== 'open' || splice?.takesBulk !== true) return undefined;
    const order = { most: this.#limits.TRANSFER_BUFFER_BYTES, role: this.role, place };
    return bulkThread()?.lend(this.#socket, splice.tcp, order, (report) => {
      if (report?.place === undefined) this.#lost();
      else {
        this.#parser.resume(report.place);
        splice.tookBulk(report);
      }
      back();
    });
  }

  /** What the bulk thread had is lost with it: nothing of ours may follow within a frame. */
  #lost(): void {
    this.#socket.destroy();
    this.cut('internal');
  }

  #fail(code: ErrorCode, reason: string): void {
    if (this.#phase === 'gone') return;
    if (this.#phase === 'closing') {
      this.#socket.destroy(); // its close frame will never be found
      return;
    }
    this.#recycling?.onClosing(code);
    const splice = this.#splice;
    this.#beginClose(code, reason);
    if (splice !== undefined && !splice.bothEnded) splice.settle('protocol_error', code);
  }

  #onData(bytes: Buffer, from: number, to: number): void {
    const splice = this.#acceptBinary();
    if (splice !== undefined) splice.gather(bytes, from, to);
  }

  #onEnd(): void {
    this.#acceptBinary()?.end();
  }

  /** The visitor that a binary message belongs to; undefined when it is thrown away or a violation. */
  #acceptBinary(): Splice | undefined {
    if (this.#phase !== 'open') return undefined;
    const splice = this.#splice;
    if (splice === undefined) {
      if (this.#stray !== 'discard') this.#fail('protocol_error', 'a binary message while there is no visitor');
    } else if (splice.downEnded) this.#fail('protocol_error', 'a binary message after END');
    else if (splice.onProbation) this.#fail('protocol_error', 'a binary message before accepted');
    else return splice;
    return undefined;
  }

  #onText(text: string): void {
    if (this.#phase !== 'open') return;
    const message = decodeMessage(text);
    if (message.type === 'unknown') return;
    if (message.type === 'fault') {
      this.#fail('protocol_error', message.fault);
      return;
    }
    const misplaced = `message ${message.type} does not belong on this transfer connection`;
    const fault = this.#recycling === undefined ? misplaced : this.#recycling.onMessage(message);
    if (fault !== undefined) this.#fail('protocol_error', fault);
  }

  #spliceOver(code: ErrorCode | undefined): void {
    this.#spliceLeft();
    if (this.#phase !== 'open') return;
    this.#servedWell = code === undefined;
    if (code !== undefined) this.cut(code);
    else if (this.#recycling !== undefined) this.#recycling.onServed();
    else if (this.role === 'server') this.cut('bye');
    else this.#closeBy = performance.now() + this.#limits.CLOSE_MS; // it is the server that closes
  }

  #spliceLeft(): void {
    this.#splice = undefined;
    if (this.#phase === 'gone') sweep.delete(this);
    this.#reader.sink = undefined;
    this.#reader.pace = undefined;
    if (this.#recycling === undefined) this.#stray = 'fault';
    this.#parser.hold = this.#stray === 'hold' && this.#phase === 'open';
    this.#reader.recall();
    this.#reader.update();
  }

  #beginClose(code: ErrorCode, text?: string): void {
    if (this.#phase !== 'open') return;
    this.#leaveOpen(code, outcomeOf(code));
    this.#writer.closeWith(code, text);
  }

  #onClose(close: number): void {
    if (this.#phase === 'open') {
      const code = codeOfEnding(close);
      this.#recycling?.onClosing(code);
      const splice = this.#splice;
      this.#leaveOpen(code, outcomeOfClose(close, this.role));
      this.#writer.closeBack(close);
      if (splice !== undefined && !splice.bothEnded) splice.settle(this.#goneOutcome, undefined);
    }
    this.#writer.endSoon();
  }

  /** From here on, what comes is read for the peer's close frame only. */
  #leaveOpen(code: ErrorCode, outcome: VisitorOutcome): void {
    this.#phase = 'closing';
    this.#goneCode = code;
    this.#goneOutcome = outcome;
    this.#closeBy = performance.now() + this.#limits.CLOSE_MS;
    this.#parser.hold = false;
    this.#reader.sink = undefined;
    this.#reader.recall();
    this.#reader.update();
  }

  /** A WebSocket is not half-open: without a close frame this is a break. */
  readonly #socketOnEnd = (): void => {
    this.#socket.destroy();
  };

  readonly #socketOnClose = (): void => {
    if (this.#phase === 'open') this.#recycling?.onClosing('peer_reset');
    this.#phase = 'gone';
    this.#reader.drop();
    const splice = this.#splice;
    if (splice === undefined) sweep.delete(this);
    else if (!splice.bothEnded) splice.settle('peer_reset', undefined); // else it still has bytes to be flushed
    this.#options.onGone?.(this.#goneCode);
  };
}

/** Who has sent so much has more, and waits for the message that may wait here for an answer. */
const MUCH_BYTES = SLAB_SIZES[0] / 2;

function ignore(): void {}
