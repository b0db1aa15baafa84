/**
 * How long a message waits for the bytes that are likely to follow it: this long at least, twice as long at most. What they then
 * share is a write and the read of it at the other end, together a twentieth of what a short visitor costs. Where cores are full,
 * whoever is to say those bytes must first be given one: with 1 ms, nearly every second message went alone.
 */
const SOON_MS = 2;

interface Flushed {
  flush(): void;
}

/** Who waits: since the last time the timer fired, and since the time before. */
let newer = new Set<Flushed>();
let older = new Set<Flushed>();
let timed = false;

/** `flush` is called soon, unless `notSoon` comes first. All share one timer: one each would cost more than what waits. */
export function flushSoon(who: Flushed): void {
  newer.add(who);
  if (timed) return;
  timed = true;
  setTimeout(turnOver, SOON_MS);
}

export function notSoon(who: Flushed): void {
  if (!newer.delete(who)) older.delete(who);
}

function turnOver(): void {
  const due = older;
  older = newer;
  newer = new Set();
  timed = older.size > 0;
  if (timed) setTimeout(turnOver, SOON_MS);
  for (const who of due) who.flush();
}
