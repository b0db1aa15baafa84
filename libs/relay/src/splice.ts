import net from 'node:net';
import type { ErrorCode, Limits, VisitorOutcome } from '@culvert/contracts';
import { bytesTaken, reset } from './adopt.ts';
import { endBroken, type Loan, restOf } from './bulk.ts';
import type { BulkReport } from './bulk-job.ts';
import { outcomeOf, outcomeOfTcp, type Role } from './ending.ts';
import { FlushWatch } from './flush-watch.ts';
import type { FrameWriter } from './frame-writer.ts';
import { Keepalive } from './keepalive.ts';
import type { Pace } from './pace.ts';
import { Reader } from './reader.ts';
import { ResetAtDeath } from './reset-at-death.ts';
import { SLAB_SIZES } from './slab.ts';
import { type Owner, queueFor } from './turns.ts';
import { write } from './write.ts';

export type RelayLimits = Pick<
  Limits,
  'LINGER_MS' | 'WRITE_MS' | 'CLOSE_MS' | 'TURN_BYTES' | 'TRANSFER_BUFFER_BYTES' | 'CONTROL_MESSAGE_BYTES' | 'WARM_ACCEPT_MS'
>;

/** Payload bytes that were handed on in each direction. */
export interface Moved {
  toDevice: number;
  toVisitor: number;
}

/** How a visitor ended. */
export interface SpliceResult extends Moved {
  outcome: VisitorOutcome;
}

/** The WebSocket's side, as a splice needs it. */
export interface Link {
  /** Whose turn it is in the event loop: the transfer. */
  readonly owner: Owner;
  readonly role: Role;
  readonly socket: net.Socket;
  readonly limits: RelayLimits;
  /** See TransferOptions. */
  readonly byEdge?: boolean;
  readonly maxFrame: number;
  /** Sends bytes as binary frames; with HEADROOM free bytes before `from`, unless `from` is 0. */
  sendData(bytes: Buffer, from: number, to: number, flushed: () => void): void;
  /** What writes its frames, where it is a connection of its own. */
  readonly frames?: Pick<FrameWriter, 'lend' | 'flush'>;
  /** What reads its frames, there as well. */
  readonly reader?: Pick<Reader, 'lent' | 'recall'>;
  /** The bulk thread is lost, and how far it came nobody knows. */
  lost?(): void;
  /** END; a `flush` of the frames follows. */
  sendEnd(): void;
  /** The splice is over; `code` is what the WebSocket has to be closed with, undefined when it is in order. */
  spliceOver(code: ErrorCode | undefined): void;
}

/**
 * One visitor on one transfer: a TCP socket and the WebSocket, two directions.
 *
 *   up   (TCP → WebSocket)  open --FIN--> ended (END sent)
 *   down (WebSocket → TCP)  open --END--> ended (FIN sent) --flushed--> done
 *
 *   probation --accepted--> running --both ended and flushed--> settled (ok)
 *       \--withdrawn           \--a side breaks, a deadline, cut()--> settled (its outcome; the TCP socket is reset)
 *
 * Probation: what goes up is kept, at most PROBATION_BYTES, and whatever comes behind it waits (one more read), until the device has
 * accepted the visitor.
 * Owns the TCP socket until it is settled (then destroyed) or withdrawn (then handed back).
 */
export class Splice {
  /** Called once it is settled. */
  onSettled: ((result: SpliceResult) => void) | undefined;
  /** END was sent. */
  upEnded = false;
  /** END was received. */
  downEnded = false;
  /** Whether the first bytes were the TCP side's; undefined before there were any. */
  tcpSpokeFirst: boolean | undefined;

  readonly #link: Link;
  readonly #tcp: net.Socket;
  readonly #reader: Reader;
  readonly #flushedDown: () => void;
  /** Of those that live on when the sweep first sees them. */
  #watch: FlushWatch | undefined;
  #keepalive: Keepalive | undefined;
  #resetAtDeath: ResetAtDeath | undefined;
  #settled = false;
  #probation: boolean;
  #kept: Buffer[] = [];
  #keptBytes = 0;
  #finHeld = false;
  #up = 0;
  #down = 0;
  /** Data of the read at hand that the TCP socket has not been given: `bytes[from..to)`. */
  #gathered: { bytes: Buffer; from: number; to: number } | undefined;
  #lingerMark = -1;
  #lingerSince = 0;

  /**
   * @param tcp Paused, with TCP_NODELAY; may have unread bytes.
   * @param flushedDown To be called when a write to the TCP socket was flushed.
   * @throws CulvertError `peer_reset` when the socket is already gone.
   */
  constructor(link: Link, tcp: net.Socket, flushedDown: () => void, probation: boolean) {
    const { limits, maxFrame } = link;
    this.#link = link;
    this.#flushedDown = flushedDown;
    this.#probation = probation;
    this.#reader = new Reader({
      owner: link.owner,
      maxRead: Math.min(limits.TRANSFER_BUFFER_BYTES, maxFrame),
      turnBytes: limits.TURN_BYTES,
      use: (bytes, from, to) => this.#sendUp(bytes, from, to),
      spares: link.byEdge === true,
      lend: (back) => this.#lendUp(back),
    });
    this.#tcp = this.#reader.attach(tcp);
    this.#reader.sink = link.socket;
    this.#tcp.on('end', this.#tcpOnEnd).on('finish', this.#advance).on('error', ignore).on('close', this.#tcpOnClose);
  }

  get tcp(): net.Socket {
    return this.#tcp;
  }
  /** How fast its visitor is read; to be set before `start`. */
  set pace(pace: Pace) {
    this.#reader.pace = pace;
  }
  get onProbation(): boolean {
    return this.#probation;
  }
  /** So far. */
  get moved(): Moved {
    const server = this.#link.role === 'server';
    return { toDevice: server ? this.#up : this.#down, toVisitor: server ? this.#down : this.#up };
  }
  /** Bytes that came for the TCP side so far. */
  get received(): number {
    return this.#down;
  }
  get bothEnded(): boolean {
    return this.upEnded && this.downEnded;
  }

  /** @param early Bytes of the visitor that another transfer had, and that no target can have seen. */
  start(early?: Buffer): void {
    if (early !== undefined && early.length > 0) this.#sendUp(early, 0, early.length);
    if (this.#probation && this.#keptBytes >= PROBATION_BYTES) return; // or each device that does not accept it would have it read more
    this.#reader.start();
  }

  /** Something of ours that was no data of the visitor has left the WebSocket: over TLS, what is written waits for a turn or more. */
  wake(): void {
    this.#reader.flushed();
  }

  /** Data came for the TCP side, and goes there. Not to be called after `end`. */
  write(bytes: Buffer, from: number, to: number): void {
    this.gather(bytes, from, to);
    this.handOn();
  }

  /**
   * Data came for the TCP side; `handOn` must follow before `bytes` are used again. Pieces of the same read, which frame headers
   * stand between, become one write: to move the shorter one over the header costs less than a write of its own. Not to be
   * called after `end`.
   */
  gather(bytes: Buffer, from: number, to: number): void {
    this.#down += to - from;
    this.tcpSpokeFirst ??= false;
    const before = this.#gathered;
    if (before?.bytes !== bytes) {
      this.handOn();
      this.#gathered = { bytes, from, to };
    } else if (to - from <= before.to - before.from) {
      bytes.copyWithin(before.to, from, to);
      before.to += to - from;
    } else {
      const start = from - (before.to - before.from);
      bytes.copyWithin(start, before.from, before.to);
      before.from = start;
      before.to = to;
    }
  }

  /** Gives the TCP socket what has been gathered. */
  handOn(): void {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    const { bytes, from, to } = gathered;
    if (!this.#tcp.destroyed) write(this.#tcp, bytes.subarray(from, to), this.#flushedDown);
  }

  /** Whether what comes for the TCP side may be moved by the bulk thread, who says how far it came to `tookBulk`. */
  get takesBulk(): boolean {
    return !this.#settled && !this.downEnded && !this.#probation;
  }

  /** The bulk thread has given the TCP socket data. */
  tookBulk(report: BulkReport): void {
    this.#down += report.moved;
    this.tcpSpokeFirst ??= false;
    const rest = restOf(report);
    if (rest !== undefined && !this.#tcp.destroyed) write(this.#tcp, rest, this.#flushedDown);
    endBroken(report, this.#link.socket, this.#tcp);
    if (this.#finHeld && !this.upEnded && !this.#settled && !this.#tcp.destroyed) this.#endUp();
  }

  /** END came for the TCP side. */
  end(): void {
    this.handOn();
    this.downEnded = true;
    if (this.upEnded && closesInOrder(this.#tcp)) {
      this.#resetAtDeath?.clear();
      this.settle('ok', undefined);
      return;
    }
    this.#tcp.end();
    this.#advance();
  }

  /** The device has a target for this visitor: everything may flow. */
  accept(): void {
    this.#probation = false;
    this.#kept = [];
    this.#reader.start(); // with what came behind that
    if (this.#finHeld) this.#endUp();
  }

  /** Takes the visitor back from a device that did not accept it: its socket, paused, and what was read of it. */
  withdraw(): { tcp: net.Socket; early: Buffer } | undefined {
    if (this.#settled || !this.#probation || this.#tcp.destroyed) return undefined;
    this.#settled = true;
    const rest = this.#reader.detach();
    const tcp = this.#tcp;
    tcp.off('end', this.#tcpOnEnd).off('finish', this.#advance).off('close', this.#tcpOnClose);
    return { tcp, early: Buffer.concat(rest === undefined ? this.#kept : [...this.#kept, rest]) };
  }

  /** Ends it now; the TCP socket is reset unless all is in order. `code` is what the peer is told. */
  settle(outcome: VisitorOutcome, code: ErrorCode | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    if (outcome === 'ok') this.#tcp.destroy();
    else reset(this.#tcp);
    const server = this.#link.role === 'server';
    this.#link.spliceOver(code);
    this.onSettled?.({ outcome, toDevice: server ? this.#up : this.#down, toVisitor: server ? this.#down : this.#up });
  }

  /** To be called by the sweep of whoever has it, until it is settled. */
  check(now: number): void {
    const { LINGER_MS, WRITE_MS } = this.#link.limits;
    this.#keepalive ??= new Keepalive(this.#tcp);
    this.#keepalive.check();
    if (!this.#probation && !this.downEnded) {
      this.#resetAtDeath ??= new ResetAtDeath(this.#tcp);
      this.#resetAtDeath.check();
    }
    this.#watch ??= new FlushWatch(this.#tcp);
    if (this.#watch.frozen(now, WRITE_MS)) {
      this.#cut('write_timeout');
      return;
    }
    if (this.upEnded === this.downEnded) return;
    const mark = this.#up + this.#down + bytesTaken(this.#tcp) + bytesTaken(this.#link.socket);
    if (mark !== this.#lingerMark) {
      this.#lingerMark = mark;
      this.#lingerSince = now;
    } else if (this.#lent || this.#tcp.writableLength > 0 || this.#link.socket.writableLength > 0) {
      this.#lingerSince = now; // somebody is slow, not silent: the write deadline watches
    } else if (now - this.#lingerSince >= LINGER_MS) this.#cut('linger_expired');
  }

  #cut(code: ErrorCode): void {
    this.settle(outcomeOf(code), code);
  }

  #sendUp(bytes: Buffer, from: number, to: number): number {
    if (this.#settled) return to;
    if (this.#probation) {
      const fits = this.#keptBytes + to - from <= PROBATION_BYTES && this.#kept.length < PROBATION_PIECES;
      if (!fits && this.#keptBytes > 0) return from; // not a part of it: what is sent and what waits would share a buffer
      this.#kept.push(Buffer.from(bytes.subarray(from, to)));
      this.#keptBytes += to - from;
    }
    this.#up += to - from;
    this.tcpSpokeFirst ??= true;
    this.#link.sendData(bytes, from, to, this.#reader.flushed);
    return to;
  }

  /** The bulk thread has either direction. */
  get #lent(): boolean {
    return this.#reader.lent || this.#link.reader?.lent === true;
  }

  #lendUp(back: () => void): Loan | undefined {
    const { owner, frames, socket, limits, byEdge, maxFrame } = this.#link;
    if (this.#settled || this.#probation || frames === undefined) return undefined;
    const most = Math.min(limits.TRANSFER_BUFFER_BYTES, maxFrame);
    const queue = byEdge ? queueFor(owner) : undefined;
    return frames.lend(this.#tcp, { most, queue }, this.#reader.flushed, (report) => {
      if (report === undefined) this.#link.lost?.();
      else {
        this.#up += report.moved;
        endBroken(report, this.#tcp, socket);
      }
      back();
    });
  }

  #endUp(): void {
    this.upEnded = true;
    this.#link.sendEnd();
    this.#advance();
    this.#link.frames?.flush(); // with what it has to say when that was the last of the visitor
  }

  readonly #tcpOnEnd = (): void => {
    if (this.#settled) return;
    // Of a socket that broke, the system tells only once: the bulk thread, which writes it, may know better.
    const { reader } = this.#link;
    this.#finHeld = this.#probation || reader?.lent === true;
    if (!this.#finHeld) this.#endUp();
    else reader?.recall();
  };

  readonly #advance = (): void => {
    if (this.#tcp.writableFinished) this.#resetAtDeath?.clear();
    if (this.bothEnded && this.#tcp.writableFinished) this.settle('ok', undefined);
  };

  readonly #tcpOnClose = (): void => {
    this.settle(outcomeOfTcp(this.#link.role), 'peer_reset');
    this.#reader.drop();
  };
}

/** Nothing is left to be written or read: to close it says what a FIN would, and a write of its own less. */
function closesInOrder(tcp: net.Socket): boolean {
  return tcp instanceof net.Socket && !tcp.destroyed && tcp.writableLength === 0 && !('encrypted' in tcp);
}

function ignore(): void {}

/**
 * Of a visitor whom the device has not accepted: as much as a first read brings. One who asks in several pieces is understood by the
 * target all the same, whose answer `accepted` waits for.
 */
const PROBATION_BYTES = SLAB_SIZES[0];
/** What is kept of one who writes byte by byte must cost no more than its bytes. */
const PROBATION_PIECES = 16;
