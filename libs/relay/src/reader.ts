import type net from 'node:net';
import { HEADROOM } from '@culvert/wire';
import { adopt, drain } from './adopt.ts';
import type { Loan } from './bulk.ts';
import { loadLibc, tcpDescriptorOf } from './libc.ts';
import type { Pace } from './pace.ts';
import { noteRests, PeerQueue } from './peer-queue.ts';
import { RecordBuffer } from './record-buffer.ts';
import { giveSlab, SLAB_SIZES, type SlabClass, takeSlab } from './slab.ts';
import { beside, noteLarge, noteSmall, noteTurn, type Owner, queueFor } from './turns.ts';

/** Shares of a turn that a bulk transfer takes at once while nobody waits for answers: to yield costs system calls. */
const LONE_SHARES = 4;

/** The time that a peer is given which is behind: the least that a timer takes. */
const REST_MS = 1;

const NOTHING = Buffer.alloc(0);

export interface ReaderOptions {
  /** Whose reads these are: both readers of a transfer have the same. */
  owner: Owner;
  /** Largest read, in bytes. */
  maxRead: number;
  /** Bytes per event-loop turn beside transfers with small requests; LONE_SHARES times as many otherwise. */
  turnBytes: number;
  /**
   * Takes `bytes[from..to)`, with HEADROOM free bytes before `from` unless `from` is 0 or there is `ahead`. Returns the index of the first byte
   * it has no place for; the reader keeps the rest and stops.
   */
  use(bytes: Buffer, from: number, to: number): number;
  /** Bytes that had best come with one read, if known: a large read is made to end there. */
  ahead?(): number;
  /** The peer of the sink is to be given time where it is behind, while others wait for answers. */
  spares?: boolean;
  /** Has the bulk thread move what comes next; `back` says that it is over. Undefined, and by default: it is read here. */
  lend?(back: () => void): Loan | undefined;
}

/**
 * Reads one socket, into a slab that grows and shrinks with the traffic, and stops whenever there is no place for more:
 *
 *   reading --sink has unflushed bytes--> waiting --flushed()--> reading
 *        \--use() left a rest, stop()---> waiting --start()----> reading
 *        \--its share of the turn is used up--> next turn
 *        \--the pace holds it----------> waiting --update()---> reading
 *        \--the peer is behind---------> resting --REST_MS----> reading
 *        \--bulk that the sink takes---> lent ----back--------> reading
 *
 * So at most one read per direction is unflushed, whatever the peer does. The slab stays the same while it waits.
 */
export class Reader {
  /** Counts reads: a sign of life. */
  reads = 0;
  /** The socket that the bytes go to; its unflushed bytes stop this reader. */
  sink: net.Socket | undefined;

  /** Where set, how fast it may read, together with all who share the pace. */
  pace: Pace | undefined;

  readonly #options: ReaderOptions;
  /** Where in a slab reads begin: what comes with headers of its own needs none in front. */
  readonly #start: number;
  #socket: net.Socket | undefined;
  /** It reads straight into our slabs, and nothing else of it flows. */
  #raw = false;
  #reading = false;
  #stopped = true;
  #yielding = false;
  #using = false;
  #again = false;
  #rest: { bytes: Buffer; from: number; to: number } | undefined;
  #slab: Buffer | undefined;
  /** The slab before this one, which a write may still refer to: a reader grows while it waits, too, or it never would beside a slow sink. */
  #held: Buffer | undefined;
  #size: SlabClass = 0;
  /** Bytes that the present read may bring. */
  #room = 0;
  #wanted: SlabClass = 0;
  #smallReads = 0;
  #turn = 0;
  #loan: Loan | undefined;
  #queue: PeerQueue | undefined;
  #resting: NodeJS.Timeout | undefined;
  #rested = false;
  #corked: net.Socket | undefined;
  /** Of a TLS socket: what this turn has brought. */
  #records: RecordBuffer | undefined;
  #due = false;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#start = options.ahead === undefined ? HEADROOM : 0;
  }

  /** Takes the socket over, paused. Returns the one to use from now on. Throws CulvertError when it is already gone. */
  attach(socket: net.Socket, head: Buffer = NOTHING): net.Socket {
    const plain = { buffer: this.#buffer, callback: this.#onRead };
    const adopted = adopt(socket, plain, { buffer: this.#recordRoom, callback: this.#onRecord });
    let early = head;
    if (adopted === undefined) {
      socket.setTimeout(0);
      socket.pause();
      early = Buffer.concat([head, drain(socket)]);
      socket.on('data', this.#onData);
      socket.pause(); // the listener made it flow
      this.#socket = socket;
    } else {
      early = adopted.head.length === 0 ? head : Buffer.concat([head, adopted.head]);
      this.#socket = adopted.socket;
      this.#raw = !('encrypted' in socket);
    }
    if (early.length > 0) this.#rest = { bytes: early, from: 0, to: early.length };
    return this.#socket;
  }

  start(): void {
    this.#stopped = false;
    this.update();
  }

  stop(): void {
    this.#stopped = true;
    this.update();
  }

  /** The bulk thread has it. */
  get lent(): boolean {
    return this.#loan !== undefined;
  }

  /** Asks for it, if the bulk thread has it. */
  recall(): void {
    this.#loan?.recall();
  }

  /** Bytes are waiting for a place. */
  get waiting(): boolean {
    return this.#rest !== undefined || this.#backlog();
  }

  /** To be called when a write to the sink was flushed. */
  readonly flushed = (): void => {
    if (this.#held !== undefined && this.#rest === undefined && this.#flushed) {
      giveSlab(this.#held);
      this.#held = undefined;
    }
    if (!this.#reading) this.update();
  };

  /** Something changed: offers the rest again, then reads on or stops. */
  update(): void {
    if (this.#using) {
      this.#again = true;
      return;
    }
    if (this.#rest !== undefined && !this.#stopped) {
      const { bytes, from, to } = this.#rest;
      this.#rest = undefined;
      this.#use(bytes, from, to);
    }
    const open = this.#open();
    if (open === this.#reading || this.#socket === undefined) return;
    this.#reading = open;
    if (!open) this.#socket.pause();
    else if (this.#raw)
      this.#socket.read(0); // `resume` would take a tick of its own to begin with the same
    else this.#socket.resume();
  }

  /** The socket is closed: no read comes any more. */
  drop(): void {
    const free = this.#flushed && !this.#using;
    if (this.#slab !== undefined && free) giveSlab(this.#slab); // else the collector has it
    this.#records?.drop(free);
    this.detach();
  }

  /**
   * The socket goes to another reader. Its handle may still point to the slab, so nobody else may have that.
   *
   * @returns Bytes that there was no place for.
   */
  detach(): Buffer | undefined {
    this.stop();
    this.recall();
    clearTimeout(this.#resting);
    const rest = this.#rest;
    this.#slab = undefined;
    this.#held = undefined;
    this.#rest = undefined;
    this.#reading = false;
    this.#socket?.off('data', this.#onData);
    this.#socket = undefined;
    return rest?.bytes.subarray(rest.from, rest.to);
  }

  #open(): boolean {
    if (this.#stopped || this.#yielding || this.#loan !== undefined || this.#rest !== undefined || this.#backlog()) return false;
    if (this.#resting !== undefined) return false;
    return this.pace === undefined || !this.pace.holds(this);
  }

  /** Nobody refers to bytes that were handed on. */
  get #flushed(): boolean {
    return this.sink === undefined || (!this.sink.destroyed && this.sink.writableLength === 0);
  }

  /** A corked sink has this turn's bytes in it: then only a full slab's worth of them stops the reader. */
  #backlog(): boolean {
    const { sink } = this;
    if (sink === undefined || sink.destroyed) return false;
    return sink.writableLength > (this.#corked === sink ? this.#options.maxRead : 0);
  }

  #use(bytes: Buffer, from: number, to: number): void {
    let at = from;
    this.#using = true;
    do {
      this.#again = false;
      at = this.#options.use(bytes, at, to);
    } while (at < to && this.#again && !this.#stopped);
    this.#using = false;
    if (at < to) this.#rest = { bytes, from: at, to };
  }

  // Plain sockets: straight from the handle into the slab.

  readonly #buffer = (): Uint8Array | null => {
    if (this.#slab !== undefined && !this.#open()) {
      if (this.#wanted <= this.#size || this.#held !== undefined) return null;
      this.#held = this.#slab; // what was read last may still be in a write
      this.#slab = undefined;
    }
    const room = this.#aligned(Math.min(SLAB_SIZES[this.#wanted], this.#most()));
    if (this.#slab === undefined || this.#wanted !== this.#size) {
      if (this.#slab !== undefined) giveSlab(this.#slab);
      this.#size = this.#wanted;
      this.#slab = takeSlab(this.#size);
    } else if (room === this.#room) return null;
    this.#room = room;
    return this.#slab.subarray(this.#start, this.#start + room);
  };

  /** Frames that are about as large as a large read are read one by one; of smaller ones, as many as there are. */
  #aligned(room: number): number {
    if (room <= SLAB_SIZES[1]) return room;
    const ahead = this.#options.ahead?.() ?? 0;
    return ahead > room / 2 && ahead <= room + HEADROOM ? ahead : room;
  }

  readonly #onRead = (count: number): boolean => {
    const slab = this.#slab;
    if (slab === undefined) return false;
    this.reads++;
    this.#use(slab, this.#start, this.#start + count);
    this.pace?.spend(count);
    this.#measure(count);
    this.#reading = this.#open();
    return this.#reading;
  };

  /** Beside somebody's small requests, one read is at most the share of a turn; among bulk transfers, it may be large. */
  #most(): number {
    const { maxRead, turnBytes } = this.#options;
    const most = beside(this.#options.owner) ? Math.min(maxRead, turnBytes) : maxRead;
    return this.pace === undefined ? most : Math.min(most, this.pace.share);
  }

  /** Grows after a full read, shrinks after four small ones, and yields when its share of the turn is used up, unless the bulk thread takes it. */
  #measure(count: number): void {
    const { owner, turnBytes } = this.#options;
    if (count < this.#room) {
      if (count < SLAB_SIZES[0] && this.#size === 0) noteSmall(owner); // else it is the tail of a bulk transfer
      this.#turn = 0; // a short read ends libuv's loop: others are served before the next one
      if (this.#size > 0 && count < SLAB_SIZES[this.#size] >> 3 && ++this.#smallReads > 3) {
        this.#smallReads = 0;
        this.#wanted = (this.#size - 1) as SlabClass;
      }
      return;
    }
    this.#smallReads = 0;
    if (this.#size > 0) noteLarge(owner);
    const most = this.#most();
    if (this.#size < 2 && SLAB_SIZES[this.#size] < most) this.#wanted = (this.#size + 1) as SlabClass;
    if (SLAB_SIZES[this.#wanted] >= most) {
      if (this.#lend()) return;
      this.#spare();
    }
    this.#turn += count;
    if (this.#turn < turnBytes || (this.#turn < turnBytes * LONE_SHARES && !beside(this.#options.owner))) return;
    this.#turn = 0;
    noteTurn();
    this.#yielding = true;
    setImmediate(this.#nextTurn);
  }

  /** Only what is sent as fast as it is read, and by nobody's pace. */
  #lend(): boolean {
    const { lend } = this.#options;
    if (lend === undefined || this.#stopped || this.#rest !== undefined || !this.#flushed || this.pace?.limited === true)
      return false;
    this.#loan = lend(this.#back);
    return this.#loan !== undefined;
  }

  /** Bulk that the peer of the sink does not read as fast as it is sent: it rests after this read, then one more may go. */
  #spare(): void {
    const rested = this.#rested;
    this.#rested = false;
    if (rested || this.#options.spares !== true || this.sink === undefined) return;
    const queue = queueFor(this.#options.owner);
    const libc = queue === undefined ? undefined : loadLibc();
    if (queue === undefined || libc === undefined) return;
    this.#queue ??= new PeerQueue(libc);
    if (!this.#queue.exceeds(tcpDescriptorOf(this.sink), queue)) return;
    noteRests(1);
    this.#resting = setTimeout(this.#onRested, REST_MS);
  }

  readonly #onRested = (): void => {
    this.#resting = undefined;
    this.#rested = true;
    this.update();
  };

  readonly #back = (): void => {
    this.#loan = undefined;
    this.#turn = 0;
    this.reads++;
    this.update();
  };

  readonly #nextTurn = (): void => {
    this.#yielding = false;
    this.update();
  };

  // TLS: records, handed on together once per turn. Even what comes with the end of the connection is handed on before 'close'.

  readonly #recordRoom = (): Uint8Array => {
    this.#records ??= new RecordBuffer();
    return this.#records.room(this.#wanted, this.#flushed && this.#rest === undefined);
  };

  readonly #onRecord = (count: number): boolean => {
    const records = this.#records as RecordBuffer;
    records.add(count);
    this.reads++;
    this.pace?.spend(count);
    this.#turn += count;
    if (!this.#due) {
      this.#due = true;
      setImmediate(this.#deliver);
    }
    if (records.full) this.#handOn(records);
    if (this.#turn >= this.#most()) this.#yielding = true;
    this.#reading = this.#open();
    return this.#reading;
  };

  #handOn(records: RecordBuffer): void {
    if (records.length === 0) return;
    const { bytes, from, to } = records.take();
    if (this.#rest !== undefined) this.#rest = appended(this.#rest, bytes.subarray(from, to));
    else if (this.#stopped) this.#rest = { bytes, from, to };
    else this.#use(bytes, from, to);
  }

  readonly #deliver = (): void => {
    const brought = this.#turn;
    this.#due = false;
    this.#turn = 0;
    this.#yielding = false;
    if (this.#records === undefined || brought === 0) return;
    this.#handOn(this.#records);
    if (brought >= SLAB_SIZES[0]) noteTurn();
    else if (this.#wanted === 0) noteSmall(this.#options.owner);
    if (brought >= SLAB_SIZES[this.#wanted]) {
      this.#smallReads = 0;
      if (this.#wanted > 0) noteLarge(this.#options.owner);
      if (this.#wanted < 2 && SLAB_SIZES[this.#wanted] < this.#most()) this.#wanted = (this.#wanted + 1) as SlabClass;
    } else if (this.#wanted > 0 && brought < SLAB_SIZES[this.#wanted] >> 3 && ++this.#smallReads > 3) {
      this.#smallReads = 0;
      this.#wanted = (this.#wanted - 1) as SlabClass;
    }
    this.update();
  };

  // Other sockets without a handle of their own: events of up to 64 KiB, written once per turn.

  readonly #onData = (chunk: Buffer): void => {
    this.reads++;
    this.pace?.spend(chunk.length);
    if (this.sink !== undefined && this.#corked === undefined) {
      this.#corked = this.sink;
      this.sink.cork();
      setImmediate(this.#uncork);
    }
    if (this.#rest !== undefined) this.#rest = appended(this.#rest, chunk);
    else this.#use(chunk, 0, chunk.length);
    this.update();
  };

  readonly #uncork = (): void => {
    const corked = this.#corked;
    this.#corked = undefined;
    corked?.uncork();
    this.update();
  };
}

/** A paused TLS socket may still hand out what it had read: up to 80 KiB. */
function appended(rest: { bytes: Buffer; from: number; to: number }, chunk: Buffer): { bytes: Buffer; from: number; to: number } {
  const bytes = Buffer.concat([rest.bytes.subarray(rest.from, rest.to), chunk]);
  return { bytes, from: 0, to: bytes.length };
}
