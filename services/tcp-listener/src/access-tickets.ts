import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { CommandRequest, OperatorUse } from '@culvert/bus';
import { CulvertError, type Limits } from '@culvert/contracts';

/** What an operator was granted. */
export type AccessTicket = CommandRequest<'listener.admit'>;

/** Tickets of operators: each is good for one connection, for ACCESS_TICKET_MS, for who presents its key. */
export class AccessTickets {
  readonly #limits: Limits;
  readonly #tickets = new Map<string, { ticket: AccessTicket; timer: NodeJS.Timeout }>();

  constructor(limits: Limits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#tickets.size;
  }

  /** @throws CulvertError `busy` when ACCESS_TICKETS are unused already. */
  issue(ticket: AccessTicket): { ticket: string; expires_ms: number } {
    if (this.#tickets.size >= this.#limits.ACCESS_TICKETS) {
      throw new CulvertError('busy', 'too many operators are about to connect', { retryAfterMs: this.#limits.ACCESS_TICKET_MS });
    }
    const id = randomBytes(16).toString('base64url');
    const timer = setTimeout(() => this.#tickets.delete(id), this.#limits.ACCESS_TICKET_MS);
    this.#tickets.set(id, { ticket, timer });
    return { ticket: id, expires_ms: this.#limits.ACCESS_TICKET_MS };
  }

  /**
   * Uses a ticket up. A wrong key leaves it usable, so that who has only seen the path cannot spoil it.
   *
   * @throws CulvertError `not_found` (unknown, used, expired), `unauthorized` (another's key).
   */
  claim(id: string, keyDigest: string): AccessTicket {
    const found = this.#tickets.get(id);
    if (found === undefined) throw new CulvertError('not_found', 'this ticket is unknown, used, or its time is over');
    if (!timingSafeEqual(Buffer.from(keyDigest, 'hex'), Buffer.from(found.ticket.key_digest, 'hex'))) {
      throw new CulvertError('unauthorized', 'this is not the key of the ticket');
    }
    this.#forget(id);
    return found.ticket;
  }

  /** Whose tickets are unused. */
  *operators(): Generator<OperatorUse> {
    for (const { ticket } of this.#tickets.values()) yield ticket.operator;
  }

  /** All of an operator are void. */
  revoke(isTheirs: (operator: OperatorUse) => boolean): void {
    for (const [id, { ticket }] of this.#tickets) if (isTheirs(ticket.operator)) this.#forget(id);
  }

  #forget(id: string): void {
    clearTimeout(this.#tickets.get(id)?.timer);
    this.#tickets.delete(id);
  }
}
