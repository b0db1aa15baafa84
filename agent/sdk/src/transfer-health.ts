import { CulvertError, ERRORS } from '@culvert/contracts';
import { DoublingRest } from '@culvert/wire';
import type { Control } from './control.ts';

/** A control connection is given up after so many rounds. */
const ROUNDS = 3;

/**
 * Notices that no transfer comes about while the control connection lives, as a proxy or a firewall makes it happen, and
 * gives the control connection up: the agent then goes to the next server.
 *
 * Failures count in rounds, each begun by a dial that came after the round before had failed. So a server that stands still
 * for a while, with whatever it had asked for before, is not taken for a dead path: it asks for nothing more.
 */
export class TransferHealth {
  readonly #rest: DoublingRest;
  #rounds = 0;
  #failedAt = Number.NEGATIVE_INFINITY;

  /** @param restMs MEND_REST_MS. */
  constructor(restMs: number) {
    this.#rest = new DoublingRest(restMs);
  }

  /** A transfer was opened, or the server answered that it shall not be. */
  worked(): void {
    this.#rounds = 0;
    this.#rest.reset();
  }

  /** The transfer of a dial was not opened. `dialledAt` in milliseconds of `performance.now()`. */
  failed(error: unknown, dialledAt: number, control: Control): void {
    if (isAnswer(error)) this.worked();
    else this.#count(dialledAt, control);
  }

  #count(dialledAt: number, control: Control): void {
    if (dialledAt < this.#failedAt) return; // of a round that has failed already
    this.#failedAt = performance.now();
    this.#rounds += 1;
    if (this.#rounds < ROUNDS || !this.#rest.begin(this.#failedAt)) return;
    this.#rounds = 0;
    control.giveUp('transfers_dead', 'no transfer connection comes about');
  }
}

/** Whether an attempt to open a WebSocket failed by an answer of the server, as against none at all. */
export function isAnswer(error: unknown): error is CulvertError {
  if (!(error instanceof CulvertError) || error.cause !== undefined || ERRORS[error.code].http === null) return false;
  return error.code !== 'unavailable' || error.retryAfterMs !== undefined;
}
