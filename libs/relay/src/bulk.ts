import type net from 'node:net';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { BulkOrder, BulkReport } from './bulk-job.ts';
import type { BulkAnswer, BulkRequest } from './bulk-thread.ts';
import { descriptorOf, F_DUPFD_CLOEXEC, type Libc, loadLibc, O_CLOEXEC, O_NONBLOCK } from './libc.ts';
import type { Member } from './members.ts';
import { noteRests } from './peer-queue.ts';
import { type Swept, sweep } from './sweep.ts';

/** Directions that the bulk thread moves at once; all others are read and written as everything is. Each takes four descriptors. */
const MOST_LOANS = 64;
/** Without an answer for so long, the thread is given up, with whatever it has. An order lasts SLICE_MS. */
const LOST_MS = 10_000;
/** Between two looks no more than this counts: whoever stopped this process, or the machine, stopped the thread as well. */
const LOOK_MS = 1_000;
/** Where there was no pipe to be had, bulk is read and written for so long. */
const LACKING_MS = 1_000;
/** V8 of that thread has next to nothing to keep. */
const RESOURCES = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 } as const;

/** One direction that the bulk thread has. */
export interface Loan {
  /** Asks for it: `back` is called soon. */
  recall(): void;
}

/** The report says how far it came; undefined: the thread is lost, and how far it came nobody knows. */
export type OnBack = (report: BulkReport | undefined) => void;

interface Lent {
  readonly from: number;
  readonly to: number;
  /** By `#clock`. */
  readonly since: number;
  readonly back: OnBack;
}

/**
 * The bulk thread, as the event loop sees it. It has descriptors of its own for the sockets it is lent, so that a socket that is closed here
 * meanwhile cannot turn into somebody else's there.
 *
 *   none --first ask--> starting --ready--> running --it fails, or says nothing for LOST_MS--> unable
 *                                                \--splice(2) is refused-------------------/
 */
export class BulkThread implements Swept {
  place: Member['place'];
  /** Payload bytes that it has moved so far. */
  moved = 0;
  /** Of these, what went from socket to socket within the kernel, without being read. */
  unread = 0;
  readonly #libc: Libc;
  readonly #wake: number;
  readonly #worker: Worker;
  readonly #loans = new Map<number, Lent>();
  #state: 'starting' | 'running' | 'unable' = 'starting';
  #lastId = 0;
  /** Milliseconds that this process has been seen running while the thread had something. */
  #clock = 0;
  #lookedAt = 0;
  #restsUntil = 0;
  readonly #one = Buffer.alloc(8);

  /** @throws Error where the system does not give what it takes. */
  constructor(libc: Libc, worker: URL = new URL(`./bulk-thread${extname(import.meta.url)}`, import.meta.url)) {
    this.#libc = libc;
    this.#one.writeBigUInt64LE(1n);
    this.#wake = libc.eventfd(0, O_NONBLOCK | O_CLOEXEC);
    if (this.#wake < 0) throw new Error(`no event descriptor: errno ${libc.errno()}`);
    this.#worker = new Worker(worker, {
      ...{ name: 'bulk', execArgv: [], resourceLimits: RESOURCES, workerData: { wake: this.#wake } },
    });
    this.#worker.on('message', (answer: BulkAnswer) => this.#onAnswer(answer));
    this.#worker.on('error', (error) => this.#giveUp(`it failed: ${error}`));
    this.#worker.on('exit', () => this.#onExit());
    this.#worker.unref();
  }

  /** Takes orders. */
  get running(): boolean {
    return this.#state === 'running';
  }

  /** Has one direction moved from one socket to the other, of which nobody reads the first and writes the second until `back`. */
  lend(from: net.Socket, to: net.Socket, order: Omit<BulkOrder, 'from' | 'to'>, back: OnBack): Loan | undefined {
    if (!this.running || this.#loans.size >= MOST_LOANS || performance.now() < this.#restsUntil) return undefined;
    const lent = { from: this.#copy(from), to: this.#copy(to), since: this.#clock, back };
    if (lent.from < 0 || lent.to < 0) {
      this.#release(lent);
      return undefined;
    }
    const id = ++this.#lastId;
    if (this.#loans.size === 0) {
      this.#worker.ref();
      sweep.add(this, LOST_MS);
    }
    this.#loans.set(id, lent);
    this.#say({ id, order: { ...order, from: lent.from, to: lent.to } });
    return { recall: () => this.#say({ id, recall: true }) };
  }

  /** For the sweep. */
  check(now: number): void {
    this.#clock += Math.min(now - this.#lookedAt, LOOK_MS);
    this.#lookedAt = now;
    for (const { since } of this.#loans.values()) {
      if (this.#clock - since < LOST_MS) continue;
      this.#giveUp(`it has said nothing for ${LOST_MS} ms`);
      return;
    }
  }

  /** Ends the thread, and with it whatever it was lent. */
  async close(): Promise<void> {
    this.#state = 'unable';
    await this.#worker.terminate();
  }

  #copy(socket: net.Socket): number {
    const fd = descriptorOf(socket);
    return fd < 0 ? -1 : this.#libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  }

  #release({ from, to }: Pick<Lent, 'from' | 'to'>): void {
    for (const fd of [from, to]) if (fd >= 0) this.#libc.close(fd);
  }

  #say(request: BulkRequest): void {
    this.#worker.postMessage(request);
    this.#libc.write(this.#wake, this.#one, this.#one.length);
  }

  #onAnswer(answer: BulkAnswer): void {
    if ('ready' in answer) {
      if (this.#state === 'starting') this.#state = 'running';
      return;
    }
    const lent = this.#loans.get(answer.id);
    if (lent === undefined) return;
    const { report } = answer;
    this.moved += report.moved;
    this.unread += report.unread;
    noteRests(report.rests);
    if (report.end === 'unable') this.#state = 'unable';
    if (report.end === 'lacking') this.#restsUntil = performance.now() + LACKING_MS;
    this.#end(answer.id, lent, report);
  }

  #end(id: number, lent: Lent, report: BulkReport | undefined): void {
    this.#loans.delete(id);
    if (this.#loans.size === 0) {
      this.#worker.unref();
      sweep.delete(this);
    }
    this.#release(lent);
    lent.back(report);
  }

  #giveUp(why: string): void {
    if (this.#state !== 'unable') process.emitWarning(`the bulk thread is not used any more: ${why}`, 'CulvertWarning');
    void this.close();
  }

  /** From here on nobody uses the descriptors. */
  #onExit(): void {
    this.#state = 'unable';
    this.#libc.close(this.#wake);
    for (const [id, lent] of this.#loans) this.#end(id, lent, undefined);
  }
}

/** What broke in the thread's hands ends here: the system says so once, and who reads that socket next would see an orderly end. */
export function endBroken({ end, errno, rest }: BulkReport, from: net.Socket, to: net.Socket): void {
  if (end === 'fault') (rest === undefined ? from : to).destroy(new Error(`a socket broke in the bulk thread: errno ${errno}`));
}

/** The rest of a report as it is written. */
export function restOf({ rest }: BulkReport): Buffer | undefined {
  return rest === undefined ? undefined : Buffer.from(rest.buffer, rest.byteOffset, rest.byteLength);
}

let shared: BulkThread | undefined;
let sought = false;

/** That of this process, which starts when it is first asked for; undefined while it does not run, and where there is none. */
export function bulkThread(): BulkThread | undefined {
  if (!sought) {
    sought = true;
    const libc = loadLibc();
    try {
      if (libc !== undefined) shared = new BulkThread(libc);
    } catch {
      // no descriptors: bulk is read and written
    }
  }
  return shared?.running === true ? shared : undefined;
}

/** Payload bytes that the bulk thread of this process has moved, and those of them that it has not even read. */
export function bulkBytes(): { moved: number; unread: number } {
  return { moved: shared?.moved ?? 0, unread: shared?.unread ?? 0 };
}
