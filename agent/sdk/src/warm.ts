import { CulvertError, type ErrorCode, TRANSFER_PATH } from '@culvert/contracts';
import { WarmDevice } from '@culvert/relay';
import { type AssignMessage, initialBackoff, nextAttempt } from '@culvert/wire';
import type { Control } from './control.ts';
import type { TransferOpener } from './open-transfer.ts';
import type { Settings } from './options.ts';

export interface WarmHandlers {
  /** How many more transfers may be open beside those that serve or wait; negative when there are too many. */
  room(): number;
  /** A visitor came to a warm transfer. */
  onAssign(message: AssignMessage, warm: WarmDevice): void;
}

/** Visitors who come at once are answered before new warm transfers are opened for those after them. */
const REPLENISH_MS = 50;

/** How many are kept at first; each visitor who found none doubles it, up to `warm`. */
const AT_FIRST = 4;

/**
 * Keeps transfers waiting at the listener that dialled last, as many as its visitors need and `warm` at most. Only a visit makes it open any, so that a device
 * nobody visits has none, and a server that refuses or closes them is asked again at the next visit, after a backoff.
 *
 *   none --visit--> opening --granted--> waiting --assign--> with a visitor --idle--> waiting
 *     ^                \--refused: not before the backoff is over  \--broke, closed---> none
 */
export class WarmTransfers {
  readonly #settings: Settings;
  readonly #opener: TransferOpener;
  readonly #handlers: WarmHandlers;
  readonly #stop = new AbortController();
  readonly #waiting = new Set<WarmDevice>();
  /** All of them, with a visitor or not, until they are gone. */
  readonly #alive = new Map<WarmDevice, Promise<void>>();
  #opening = 0;
  #replenishing: Promise<void> | undefined;
  #at: { control: Control; listener: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #backoff;
  #notBefore = 0;
  /** How many should wait. */
  #wanted = 0;

  constructor(settings: Settings, opener: TransferOpener, handlers: WarmHandlers) {
    this.#settings = settings;
    this.#opener = opener;
    this.#handlers = handlers;
    this.#backoff = initialBackoff(settings.backoff);
  }

  /** Those that wait for a visitor or are being opened: each counts as a transfer of the agent. */
  get size(): number {
    return this.#waiting.size + this.#opening;
  }

  /** A dial came: its listener is the one to keep transfers at. */
  visitedBy(path: string, control: Control): void {
    const listener = path.slice(TRANSFER_PATH.length + 1).split('/', 1)[0] ?? '';
    if (listener !== this.#at?.listener) this.#notBefore = 0;
    this.#at = { control, listener };
    const known = this.#alive.size === 0 ? 0 : this.#wanted; // all closed: nobody came for long
    this.#wanted = Math.min(this.#settings.warm, Math.max(AT_FIRST, known * 2));
    this.visited();
  }

  /** A visitor came or went. */
  visited(): void {
    if (this.#settings.warm === 0 || this.#stop.signal.aborted || this.#at === undefined) return;
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#replenishing ??= this.#replenish().finally(() => {
        this.#replenishing = undefined;
      });
    }, REPLENISH_MS);
  }

  /** A newer control connection: where transfers are opened from here on. */
  movedTo(control: Control): void {
    if (this.#at !== undefined) this.#at = { control, listener: this.#at.listener };
    this.#notBefore = 0;
  }

  /** Closes one that waits, to make room for a dial. False when none does. */
  giveUpOne(): boolean {
    for (const warm of this.#waiting) {
      this.#waiting.delete(warm);
      warm.transfer.cut('bye');
      return true;
    }
    return false;
  }

  /** Closes those that wait, at once; resolves when they are gone. Those with a visitor close after it. */
  async finish(): Promise<void> {
    this.#stop.abort();
    clearTimeout(this.#timer);
    for (const warm of this.#waiting) warm.transfer.cut('bye');
    this.#waiting.clear();
    await Promise.all([this.#replenishing, ...this.#alive.values()]);
  }

  /** Ends those that are left at once, whatever still waits to be sent. */
  kill(): void {
    for (const warm of this.#alive.keys()) warm.transfer.kill('wind_down');
  }

  /** One alone, so that a server that refuses is asked once; then the others together. */
  async #replenish(): Promise<void> {
    const missing = Math.min(this.#wanted - this.size, this.#handlers.room());
    if (missing <= 0 || performance.now() < this.#notBefore) return;
    if (!(await this.#open())) return;
    await Promise.all(Array.from({ length: missing - 1 }, () => this.#open()));
  }

  /** False when it was not granted. */
  async #open(): Promise<boolean> {
    const { signal } = this.#stop;
    if (this.#at === undefined || signal.aborted) return false;
    const { control, listener } = this.#at;
    this.#opening += 1;
    try {
      const path = `${TRANSFER_PATH}/${listener}?warm=1`;
      const { socket, head, encrypted, byEdge } = await this.#opener.open(control, path, signal);
      const { promise: gone, resolve: onGone } = Promise.withResolvers<void>();
      const warm: WarmDevice = new WarmDevice(socket, {
        head,
        mask: encrypted ? 'zero' : 'random',
        limits: this.#settings.limits,
        byEdge,
        heartbeatMs: control.ready.heartbeatMs,
        onAssign: (message) => this.#onAssign(message, warm),
        onIdle: () => this.#onIdle(warm),
        onGone: (code) => {
          this.#onGone(warm, code);
          onGone();
        },
      });
      this.#alive.set(warm, gone);
      void gone.then(() => this.#alive.delete(warm));
      this.#backoff = initialBackoff(this.#settings.backoff);
      this.#onIdle(warm);
      return true;
    } catch (err) {
      if (!signal.aborted && this.#at.control === control) this.#onRefused(err); // else it was said of a former connection
      return false;
    } finally {
      this.#opening -= 1;
    }
  }

  #onAssign(message: AssignMessage, warm: WarmDevice): void {
    this.#waiting.delete(warm);
    this.visited();
    this.#handlers.onAssign(message, warm);
  }

  #onIdle(warm: WarmDevice): void {
    if (this.#stop.signal.aborted || this.#handlers.room() < 0) warm.transfer.cut('bye');
    else if (warm.idle) this.#waiting.add(warm);
  }

  #onGone(warm: WarmDevice, code: ErrorCode): void {
    if (this.#waiting.delete(warm)) this.#settings.log({ event: 'warm.closed', code });
  }

  #onRefused(err: unknown): void {
    const { code, retryAfterMs } = err instanceof CulvertError ? err : new CulvertError('unavailable');
    const ending =
      retryAfterMs === undefined ? ({ kind: 'failed' } as const) : ({ kind: 'refused', code, retryAfterMs } as const);
    const next = nextAttempt(this.#backoff, ending, 1, Math.random(), this.#settings.backoff);
    this.#backoff = next.state;
    this.#notBefore = Math.max(this.#notBefore, performance.now() + Math.max(next.waitMs, retryAfterMs ?? 0));
    this.#settings.log({ event: 'warm.refused', code, retryInMs: Math.round(this.#notBefore - performance.now()) });
  }
}
