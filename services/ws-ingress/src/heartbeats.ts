import { DEAD_AFTER_HEARTBEATS, HEARTBEAT_SPREAD } from '@culvert/contracts';

/** What the wheel keeps alive. Both callbacks may remove the entry. */
export interface Beating {
  /** performance.now() of the last inbound frame; kept by the owner. */
  readonly heardAt: number;
  ping(): void;
  /** Nothing was heard for 2.5 heartbeats. Called once; the entry has left the wheel. */
  lost(): void;
}

interface Entry {
  period: number;
  pingAt: number;
  slot: Set<Beating>;
}

const SLOTS = 256;
const MIN_TICK_MS = 20;
/** A tick this late means that this very process stood still: silence then says nothing about devices. */
const STOOD_STILL_MS = 1_000;

/**
 * One timer for the heartbeats of all connections: a wheel of slots, each connection in the slot of its next visit, so
 * that a tick costs only those that are due. Periods differ by ±10 %, so that devices never march in step.
 */
export class HeartbeatWheel {
  readonly #heartbeatMs: number;
  readonly #tickMs: number;
  readonly #slots = Array.from({ length: SLOTS }, () => new Set<Beating>());
  readonly #entries = new Map<Beating, Entry>();
  readonly #timer: NodeJS.Timeout;
  #turnedAt = performance.now();
  #position = 0;
  /** Nobody is called dead before this. */
  #judgeFrom = 0;

  constructor(heartbeatMs: number) {
    this.#heartbeatMs = heartbeatMs;
    this.#tickMs = Math.max(MIN_TICK_MS, Math.ceil((heartbeatMs * (1 + HEARTBEAT_SPREAD)) / (SLOTS - 2)));
    this.#timer = setInterval(() => this.#turn(performance.now()), this.#tickMs);
  }

  add(beating: Beating): void {
    const now = performance.now();
    const period = this.#heartbeatMs * (1 + HEARTBEAT_SPREAD * (2 * Math.random() - 1));
    const entry: Entry = { period, pingAt: now + period, slot: this.#slotAfter(period) };
    this.#entries.set(beating, entry);
    entry.slot.add(beating);
  }

  delete(beating: Beating): void {
    this.#entries.get(beating)?.slot.delete(beating);
    this.#entries.delete(beating);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #slotAfter(ms: number): Set<Beating> {
    const ticks = Math.min(SLOTS - 1, Math.max(1, Math.ceil(ms / this.#tickMs)));
    return this.#slots[(this.#position + ticks) % SLOTS] as Set<Beating>;
  }

  #turn(now: number): void {
    const late = now - this.#turnedAt - this.#tickMs;
    if (late > STOOD_STILL_MS) this.#judgeFrom = now + this.#heartbeatMs;
    this.#turnedAt = now;
    this.#position = (this.#position + 1) % SLOTS;
    const slot = this.#slots[this.#position] as Set<Beating>;
    const due = [...slot];
    slot.clear();
    for (const beating of due) this.#visit(beating, now);
  }

  #visit(beating: Beating, now: number): void {
    const entry = this.#entries.get(beating);
    if (entry === undefined) return; // removed by an earlier visit of this turn
    const deadAt = Math.max(beating.heardAt + this.#heartbeatMs * DEAD_AFTER_HEARTBEATS, this.#judgeFrom);
    if (now >= deadAt) {
      this.#entries.delete(beating);
      beating.lost();
      return;
    }
    if (now >= entry.pingAt) {
      entry.pingAt = now + entry.period;
      beating.ping();
      if (!this.#entries.has(beating)) return;
    }
    entry.slot = this.#slotAfter(Math.min(entry.pingAt, deadAt) - now);
    entry.slot.add(beating);
  }
}
