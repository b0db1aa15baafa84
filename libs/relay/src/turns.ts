/**
 * Who waits for answers in this event loop: bulk transfers take smaller shares of its turns beside them.
 *
 * For so long after a read that brought little, its owner counts as waiting. In turns as well: where this process seldom gets a
 * core, little happens in a time.
 */
const SHARED_MS = 50;
const SHARED_TURNS = 256;

/** Whose read brought little last, and when: it belongs to somebody who waits for an answer. */
let smallOwner: object | undefined;
let smallAt = 0;
let smallTurn = 0;
/** Shares that were used up so far. */
let turns = 0;

/** A read of this owner brought little. */
export function noteSmall(owner: object): void {
  smallOwner = owner;
  smallAt = performance.now();
  smallTurn = turns;
}

/** A read of this owner was large: it is a bulk transfer by now, if it asked for something before. */
export function noteLarge(owner: object): void {
  if (owner === smallOwner) smallOwner = undefined;
}

/** A bulk transfer has used up its share of a turn. */
export function noteTurn(): void {
  turns++;
}

/** Does somebody else than this owner wait for answers? */
export function beside(owner: object): boolean {
  if (smallOwner === undefined || owner === smallOwner) return false;
  return turns - smallTurn <= SHARED_TURNS || performance.now() - smallAt <= SHARED_MS;
}
