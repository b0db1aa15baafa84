import { type BinaryPlace, HEADROOM, readBinaryHeader } from '@culvert/wire';
import { BufferCarrier, type Carrier, PipeCarrier } from './carrier.ts';
import type { Role } from './ending.ts';
import { EAGAIN, EINTR, type Libc, MSG_DONTWAIT, MSG_PEEK, POLLIN, POLLOUT, UNABLE } from './libc.ts';
import { type MaskSource, maskSource } from './masks.ts';
import { PeerQueue } from './peer-queue.ts';
import { SLAB_SIZES } from './slab.ts';

/** What is asked of the bulk thread: to move one direction of a transfer from one socket to the other, for a while. */
export interface BulkOrder {
  /** Descriptors of plain TCP sockets that do not block. They stay those of who gives the order, who reads and writes neither meanwhile. */
  from: number;
  to: number;
  /** Largest read, in bytes; more than the largest slab holds is not read at once. */
  most: number;
  /** Our role on the WebSocket. */
  role: Role;
  /** Bytes go up and become frames, with such a mask where we are a client. Default: random. */
  mask?: 'random' | 'zero' | undefined;
  /** Frames come down, and this is where they stand. */
  place?: BinaryPlace | undefined;
  /** Bytes that the peer of the sink may have unread before it is given time. Default: as many as its kernel takes. */
  queue?: number | undefined;
}

/**
 * Why a direction comes back:
 * `slice`: it has had its time; `recalled`: who lent it wants it; `still`: nothing moved for a while; `ended`: the source has;
 * `frame`: one comes that is no binary message in one frame, or has a mask where none was; `small`: it is no bulk any more;
 * `fault`: the sink broke if there is a rest, else the source; `lacking`: there is no pipe to be had now; `unable`: this system does
 * not do it.
 */
export type BulkEnd = 'slice' | 'recalled' | 'still' | 'ended' | 'frame' | 'small' | 'fault' | 'lacking' | 'unable';

export interface BulkReport {
  end: BulkEnd;
  /** Of a fault. */
  errno: number;
  /** Payload bytes that were taken from the source. */
  moved: number;
  /** Of these, what was not even read. */
  unread: number;
  /** Times that it rested for its peer's sake. */
  rests: number;
  /** Where the frames that come stand now. */
  place: BinaryPlace | undefined;
  /** What the sink has not taken yet: it comes before everything else. */
  rest: Uint8Array | undefined;
}

/** Milliseconds of one order: so late is who lent it with its counters and deadlines, and so seldom costs it a look. */
export const SLICE_MS = 200;
/** A source that says nothing for so long is not bulk. */
const SOURCE_STILL_MS = 10;
/** A sink that takes nothing for so long is watched by who has the deadlines. */
const SINK_STILL_MS = SLICE_MS;
/** The time that a peer is given which has much unread. */
const REST_MS = 0.25;
/** So many reads in a row of less than a small slab are no bulk. */
const SMALL_READS = 4;

/** One order, in the bulk thread: called whenever it may move some more, it never waits itself. */
export class BulkJob {
  /** Who lent it wants it back. */
  recalled = false;
  readonly from: number;
  readonly to: number;
  readonly #order: BulkOrder;
  readonly #libc: Libc;
  readonly #carrier: Carrier;
  readonly #masks: MaskSource;
  readonly #place: BinaryPlace | undefined;
  readonly #queue: PeerQueue;
  readonly #peeked = Buffer.alloc(HEADROOM);
  readonly #since: number;
  #wentAt: number;
  #restsUntil = 0;
  #rests = 0;
  #smallReads = 0;
  #moved = 0;
  #errno = 0;

  /** @throws Error where there is no pipe to be had. */
  constructor(order: BulkOrder, libc: Libc, now: number) {
    const { from, to, role, mask, place } = order;
    this.from = from;
    this.to = to;
    this.#order = order;
    this.#libc = libc;
    this.#place = place;
    this.#queue = new PeerQueue(libc);
    this.#masks = maskSource(role, mask);
    const hidden = place === undefined ? role === 'client' && mask !== 'zero' : isHidden(place.mask);
    this.#carrier = new (hidden ? BufferCarrier : PipeCarrier)(libc);
    this.#since = this.#wentAt = now;
  }

  /** What it waits for, as poll(2) says it. */
  get waitsFor(): number {
    return this.#carrier.held > 0 ? POLLOUT : POLLIN;
  }

  /** Moves one read's worth. True: something moved; false: it waits; else it is over. */
  step(now: number): boolean | BulkEnd {
    const before = this.#moved + this.#carrier.held;
    const end = this.recalled ? 'recalled' : this.#move(now);
    if (end !== undefined) return end;
    if (this.#moved + this.#carrier.held !== before) {
      this.#wentAt = now;
      return true;
    }
    return this.isDue(now) ? 'still' : false;
  }

  /** It has waited for so long that it is over. */
  isDue(now: number): boolean {
    return now - this.#wentAt >= (this.#carrier.held > 0 ? SINK_STILL_MS : SOURCE_STILL_MS);
  }

  /** Until then it does not move, for the sake of its sink's peer; 0: it may. */
  get restsUntil(): number {
    return this.#restsUntil;
  }

  /** Ends it: closes what is its own, and says how far it came. */
  finish(end: BulkEnd): BulkReport {
    const rest = this.#carrier.held > 0 ? this.#carrier.rest() : undefined;
    this.#carrier.close();
    const unread = this.#carrier instanceof PipeCarrier ? this.#moved : 0;
    return { end, errno: this.#errno, moved: this.#moved, unread, rests: this.#rests, place: this.#place, rest };
  }

  #move(now: number): BulkEnd | undefined {
    if (this.#carrier.held === 0) {
      if (now - this.#since >= SLICE_MS) return 'slice';
      if (this.#smallReads >= SMALL_READS) return 'small';
      if (this.#mustRest(now)) return undefined;
      const end = this.#place === undefined ? this.#takeUp() : this.#takeDown(this.#place);
      if (end !== undefined) return end;
    }
    return this.#carrier.held > 0 && this.#carrier.drain(this.to) < 0 ? this.#failed() : undefined;
  }

  /** After each rest it moves one read's worth: that also tells how far the peer is. */
  #mustRest(now: number): boolean {
    const { queue } = this.#order;
    if (now < this.#restsUntil) return true;
    const rested = this.#restsUntil > 0;
    this.#restsUntil = 0;
    if (rested || queue === undefined || !this.#queue.exceeds(this.to, queue)) return false;
    this.#restsUntil = now + REST_MS;
    this.#rests++;
    return true;
  }

  #takeUp(): BulkEnd | undefined {
    const mask = this.#masks();
    const count = this.#carrier.fill(this.from, this.#order.most, mask);
    if (count <= 0) return count === 0 ? 'ended' : this.#failed();
    this.#carrier.frame(mask);
    this.#took(count);
    return undefined;
  }

  #takeDown(place: BinaryPlace): BulkEnd | undefined {
    if (place.left === 0) {
      const end = this.#nextFrame(place);
      if (end !== undefined || place.left === 0) return end;
    }
    const count = this.#carrier.fill(this.from, Math.min(this.#order.most, place.left), place.mask);
    if (count <= 0) return count === 0 ? 'ended' : this.#failed();
    place.left -= count;
    if (count % 4 !== 0) place.mask = rotated(place.mask, count);
    this.#took(count);
    return undefined;
  }

  /** Takes the header of the next frame, unless it is not for us. */
  #nextFrame(place: BinaryPlace): BulkEnd | undefined {
    const peeked = this.#libc.recv(this.from, this.#peeked, HEADROOM, MSG_PEEK | MSG_DONTWAIT);
    if (peeked <= 0) return peeked === 0 ? 'ended' : this.#failed();
    const header = readBinaryHeader(this.#peeked.subarray(0, peeked), this.#order.role === 'server');
    if (header === undefined || (this.#carrier instanceof PipeCarrier && isHidden(header.mask))) return 'frame';
    if (this.#libc.read(this.from, this.#peeked, header.size) !== header.size) return 'fault';
    place.left = header.length;
    place.mask = header.mask;
    return undefined;
  }

  #took(count: number): void {
    this.#moved += count;
    this.#smallReads = count < SLAB_SIZES[0] ? this.#smallReads + 1 : 0;
  }

  /** Undefined: there is nothing now. */
  #failed(): BulkEnd | undefined {
    const errno = this.#libc.errno();
    if (errno === EAGAIN || errno === EINTR) return undefined;
    this.#errno = errno;
    return UNABLE.includes(errno) ? 'unable' : 'fault';
  }
}

function isHidden(mask: Uint8Array): boolean {
  return mask.some((byte) => byte !== 0);
}

/** The mask as it goes on after so many bytes. */
function rotated(mask: Uint8Array, count: number): Uint8Array {
  return mask.map((_, i) => mask[(i + count) & 3] as number);
}
