/**
 * Who waits for answers in this event loop: bulk transfers take smaller shares of its turns beside them.
 *
 * For so long after a read that brought little, its owner counts as waiting. In turns as well: where this process seldom gets a
 * core, little happens in a time.
 */
const SHARED_MS = 50;
const SHARED_TURNS = 256;

/**
 * So many small reads in a row make an owner one who waits: a bulk transfer begins with one, its question, and one that was bulk
 * also ends with a few. If each of them counted, 64 bulk transfers of 8 MB would always be beside somebody: the next of them.
 */
const SMALL_READS = 2;
const SMALL_READS_AFTER_BULK = 4;

/** Whose turn it is: a transfer, with whoever is on it. */
export class Owner {
  /** Small reads until it counts as waiting. */
  untilWaiting = SMALL_READS;
}

/** Whose read brought little last, and when: it belongs to somebody who waits for an answer. */
let smallOwner: Owner | undefined;
let smallAt = 0;
let smallTurn = 0;
/** Shares that were used up so far. */
let turns = 0;

/** A read of this owner brought little. */
export function noteSmall(owner: Owner): void {
  if (owner.untilWaiting > 0 && --owner.untilWaiting > 0) return;
  smallOwner = owner;
  smallAt = performance.now();
  smallTurn = turns;
}

/** A read of this owner was large: it is a bulk transfer by now, if it asked for something before. */
export function noteLarge(owner: Owner): void {
  owner.untilWaiting = SMALL_READS_AFTER_BULK;
  if (owner === smallOwner) smallOwner = undefined;
}

/** A bulk transfer has used up its share of a turn. */
export function noteTurn(): void {
  turns++;
}

/** Does somebody else than this owner wait for answers? */
export function beside(owner: Owner): boolean {
  if (smallOwner === undefined || owner === smallOwner) return false;
  return turns - smallTurn <= SHARED_TURNS || performance.now() - smallAt <= SHARED_MS;
}

/**
 * Bytes of bulk that a peer may have unread while somebody waits for answers: whatever is read there in one go lies before those.
 * Beside the TLS of an edge, 256 KiB make nobody wait for less than 768 KiB do, and leave less of the bulk.
 */
const QUEUE_BYTES = 512 << 10;

/** So many bytes the peer of a bulk transfer of this owner may have unread; undefined: as many as its kernel takes. */
export function queueFor(owner: Owner): number | undefined {
  return beside(owner) ? QUEUE_BYTES : undefined;
}
